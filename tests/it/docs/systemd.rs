//! The systemd unit and its sockets: the pages show them, and the commands on the pages fit them.

use std::fs;
use std::path::Path;
use std::process::Command;

const LANGUAGES: [&str; 2] = ["en", "zh-CN"];
/// The lines of the unit that say as whom, where and with what the service runs.
const SURROUNDINGS: [&str; 4] = [
    "DynamicUser=",
    "EnvironmentFile=",
    "LoadCredential=",
    "StateDirectory=",
];
const CHOWN: &str = "sudo chown -R --reference=/var/lib/wxlogin/ /var/lib/wxlogin/wxlogin.sessions";

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[track_caller]
fn assert_both_languages_have(page: &str, text: &str) {
    for language in LANGUAGES {
        let page = format!("docs/{language}/{page}");
        assert!(read(&page).contains(text), "{page} lacks {text}");
    }
}

#[test]
fn the_documentation_shows_the_unit_and_the_sockets() {
    for name in ["wxlogin.service", "wxlogin.socket"] {
        assert_both_languages_have("systemd.md", &read(&format!("examples/{name}")));
    }
}

#[test]
fn the_check_runs_as_the_service_does_with_every_credential_that_the_unit_names() {
    let unit = read("examples/wxlogin.service");
    // Also those that are commented out.
    for line in unit.lines().map(|line| line.trim_start_matches("# ")) {
        if SURROUNDINGS.iter().any(|name| line.starts_with(name)) {
            assert_both_languages_have("systemd.md", &format!("-p {line}"));
        }
        if let Some(setting) = line.strip_prefix("Environment=") {
            let setting = setting.replace("%d", "$CREDENTIALS_DIRECTORY");
            assert_both_languages_have("systemd.md", &setting);
        }
    }
}

/// Otherwise they stay stopped once both were stopped, and cannot be started under a service that runs.
#[test]
fn a_start_of_the_service_starts_the_sockets() {
    let sockets = read("examples/wxlogin.socket");
    let wanted_by = "\nWantedBy=sockets.target wxlogin.service\n";
    assert!(sockets.contains(wanted_by), "{sockets}");
}

/// `/var/lib/wxlogin` is a symbolic link, and its owner a user that exists only while the service runs.
#[test]
fn a_backup_names_the_store_itself_and_a_restore_gives_it_its_owner() {
    let copy = "sudo cp -aT /var/lib/wxlogin/wxlogin.sessions /root/";
    assert_both_languages_have("deployment.md", copy);
    assert_both_languages_have("deployment.md", CHOWN);
    assert_both_languages_have("settings.md", CHOWN);
}

/// Twice a backup, three times a restore of the second one, by the commands of the page.
#[test]
fn backup_and_restore_can_be_done_again_and_again() {
    for language in LANGUAGES {
        let page = read(&format!("docs/{language}/deployment.md"));
        let blocks = page.split("```sh\n").skip(1);
        let blocks = blocks.map(|block| block.split("```").next().unwrap());
        let blocks: Vec<_> = blocks.filter(|it| it.contains(".sessions")).collect();
        let [backup, restore] = blocks[..] else {
            panic!("{blocks:?}")
        };
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("lib/wxlogin.sessions");
        let root = dir.path().join("root");
        fs::create_dir_all(&store).unwrap();
        fs::create_dir(&root).unwrap();
        let run = |commands: &str| {
            let commands = commands.replace("/var/lib/wxlogin", "lib");
            let commands = commands.replace("/root", root.to_str().unwrap());
            let stubs = "sudo() { \"$@\"; }; systemctl() { :; };";
            let mut sh = Command::new("sh");
            sh.args(["-c", &format!("{stubs}\n{commands}")]);
            assert!(sh.current_dir(dir.path()).status().unwrap().success());
        };
        let file = store.join("sessions.sqlite");
        for content in ["first", "second"] {
            fs::write(&file, content).unwrap();
            run(backup);
        }
        let made = fs::read_dir(&root).unwrap();
        let made = made.map(|it| it.unwrap().file_name().into_string().unwrap());
        let newest = made.max().unwrap();
        for _ in 0..3 {
            fs::write(&file, "later").unwrap();
            run(&restore.replace("wxlogin.sessions-DATE", &newest));
            assert_eq!(fs::read_to_string(&file).unwrap(), "second", "{language}");
            assert_eq!(fs::read_dir(&store).unwrap().count(), 1, "{language}");
        }
    }
}

/// After a stop, the sockets start the old binary, and a start does nothing.
#[test]
fn an_upgrade_restarts_the_service() {
    assert_both_languages_have("upgrading.md", "sudo systemctl restart wxlogin");
    for language in LANGUAGES {
        let page = read(&format!("docs/{language}/upgrading.md"));
        assert!(!page.contains("systemctl start"), "{language}");
    }
}
