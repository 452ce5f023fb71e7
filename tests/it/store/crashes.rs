//! Acknowledged changes survive `kill -9` and power cuts under load.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::fake_wechat::FakeWechat;
use crate::support::app::vars;
use crate::support::disk::Disk;
use crate::support::load::{Expected, Load, expectations, violations};
use crate::support::power_cut::Journal;
use crate::support::process::Process;

const USERS: usize = 16;

fn settings(wechat: &FakeWechat) -> BTreeMap<String, String> {
    vars(&wechat.base(), &[("SESSION_STORE", "file:s.sessions")])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_ten_times_kill_9_under_load() {
    kill_9(10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn what_was_acknowledged_survives_forty_times_kill_9_under_load() {
    kill_9(40).await;
}

async fn kill_9(rounds: usize) {
    let wechat = FakeWechat::start().await;
    let (disk, settings) = (Disk::new(), settings(&wechat));
    for round in 0..rounds {
        let process = disk.start(&settings);
        if round % 2 == 0 {
            // What is acknowledged before it is written is lost.
            disk.fault("write", "slow");
        } else {
            disk.mend();
        }
        let mut load = Load::start(&process.client, USERS, &disk.journal());
        // At another point of a commit each time.
        load.acknowledged(80 + 3 * round).await;
        process.signal("KILL");
        load.stop().await;
    }
    let process = Process::start(&disk.dir(), &settings);
    let journal = Journal::read(&disk.journal());
    let expected = expectations(&journal.marks(journal.len()));
    for what in [Expected::Live, Expected::Dead] {
        let count = expected.iter().filter(|(_, it)| *it == what).count();
        assert!(count > 15 * rounds, "{count} times {what:?}");
    }
    let violations = violations(&process.client, &expected).await;
    assert!(violations.is_empty(), "{violations:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_power_cuts() {
    power_cuts(1, 4, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn what_was_acknowledged_survives_a_hundred_power_cuts() {
    power_cuts(5, 20, 1_000).await;
}

async fn power_cuts(runs: u64, cuts: u64, changes: usize) {
    for run in 0..runs {
        let wechat = FakeWechat::start().await;
        let (disk, settings) = (Disk::recorded(), settings(&wechat));
        // Power cuts also during the recovery after a crash and during a stop.
        for end in ["KILL", "TERM", "KILL"] {
            let process = disk.start(&settings);
            // So that what is acknowledged before it is synced has its mark before the sync.
            disk.fault("sync", "slow");
            let mut load = Load::start(&process.client, USERS, &disk.journal());
            load.acknowledged(changes).await;
            if end == "TERM" {
                load.stop().await;
                process.signal(end);
            } else {
                process.signal(end);
                load.stop().await;
            }
            process.wait();
        }
        let journal = Journal::read(&disk.journal());
        let acknowledged = journal.moments_after(&["live", "dead"]);
        for cut in 0..cuts {
            let mut random = Rng::with_seed(run * cuts + cut);
            let (mut moment, after) =
                (random.usize(..=journal.len()), tempfile::tempdir().unwrap());
            if cut % 2 == 0 {
                journal.rebuild(moment, &mut random, &disk.dir(), after.path());
            } else {
                // Right after an acknowledgement, all is lost that was not synced.
                moment = acknowledged[random.usize(..acknowledged.len())];
                journal.rebuild_synced(moment, &mut random, &disk.dir(), after.path());
            }
            let mut expected = expectations(&journal.marks(moment));
            if let Some((_, old)) = expected.split_at_mut_checked(300) {
                random.shuffle(old);
                expected.truncate(400);
            }
            let process = Process::start(after.path(), &settings);
            let violations = violations(&process.client, &expected).await;
            assert!(
                violations.is_empty(),
                "cut {cut} after {moment} of {} records: {violations:#?}",
                journal.len()
            );
            let code = format!("user-after.{run}.{cut}");
            process.client.login(&code).await.assert_status(200);
        }
    }
}
