//! The log when the reader of standard error is slow, stops or closes the pipe, and when its disk is full.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::fake_wechat::FakeWechat;
use crate::support::app::vars;
use crate::support::client::Client;
use crate::support::disk::Disk;
use crate::support::process::{command, kill};

const O_NONBLOCK: i32 = 0o4000;
/// More lines than fit into a pipe, the writer's buffer and the queue together.
const MANY: usize = 5_500;

/// A running `wxlogin` whose standard error is read by the test, or not.
struct Service {
    child: Child,
    reader: BufReader<File>,
    client: Client,
    metrics: Client,
}

impl Service {
    /// With a FIFO, as `mkfifo f; wxlogin 2>f`.
    fn with_fifo(dir: &Path, wechat: &FakeWechat) -> Self {
        let fifo = dir.join("fifo");
        let status = Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(status.success());
        // Opened for writing too, so that it opens at once.
        let reader = File::options().read(true).write(true).open(&fifo).unwrap();
        let stderr = File::options().write(true).open(&fifo).unwrap();
        Self::start(dir, wechat, reader, stderr.into())
    }

    fn start(dir: &Path, wechat: &FakeWechat, reader: File, stderr: OwnedFd) -> Self {
        Self::of(command(dir, &settings(wechat)), reader, stderr)
    }

    fn of(mut command: Command, reader: File, stderr: OwnedFd) -> Self {
        // As `wxlogin >f 2>&1`: nothing may wait for standard output either.
        let stdout = stderr.try_clone().unwrap();
        let child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
        let mut reader = BufReader::new(reader);
        let mut line = String::new();
        while !line.contains("listening addr=") {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        let addr = |name| {
            let (_, addr) = line.split_once(name).unwrap();
            Client::new(addr.split_whitespace().next().unwrap().parse().unwrap())
        };
        let (metrics, client) = (addr(" internal_addr="), addr(" addr="));
        Self {
            child,
            reader,
            client,
            metrics,
        }
    }

    /// How many lines were dropped, by the metric.
    async fn dropped(&self) -> u64 {
        let text = self.metrics.get("/metrics").await.text;
        let line = text
            .lines()
            .find(|line| line.starts_with("wxlogin_log_lines_dropped_total "));
        let (_, number) = line.expect(&text).split_once(' ').unwrap();
        number.parse().unwrap()
    }

    /// Reads up to the line that reports dropped lines; returns their number, and how many lines with `text`
    /// were read before.
    fn reported(&mut self, text: &str) -> (u64, usize) {
        let (mut line, mut read) = (String::new(), 0);
        loop {
            line.clear();
            self.reader.read_line(&mut line).unwrap();
            if let Some((_, report)) = line.split_once(" WARN wxlogin::telemetry: ") {
                assert!(report.contains(" log lines were dropped"), "{line}");
                return (report.split(' ').next().unwrap().parse().unwrap(), read);
            }
            read += usize::from(line.contains(text));
        }
    }

    /// Closes the reading end.
    fn close_reader(&mut self) {
        self.reader = BufReader::new(File::open("/dev/null").unwrap());
    }

    /// Stops it with SIGTERM; returns the exit status and how long that took.
    async fn stop(mut self) -> (ExitStatus, Duration) {
        let begin = Instant::now();
        kill("TERM", self.child.id());
        let ended = tokio::task::spawn_blocking(move || self.child.wait().unwrap());
        (ended.await.unwrap(), begin.elapsed())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(wechat: &FakeWechat) -> BTreeMap<String, String> {
    let settings = [("INTERNAL_ADDR", "127.0.0.1:0"), ("RUST_LOG", "debug")];
    vars(&wechat.base(), &settings)
}

/// Sends this many requests on one connection, without waiting for answers; all must be 200.
async fn send_many(addr: SocketAddr, path: impl Fn(usize) -> String) {
    let request = |number| format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", path(number));
    let mut requests: String = (1..MANY).map(request).collect();
    requests += &request(MANY).replace("host", "connection: close\r\nhost");
    let sent = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut writer = stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            writer.write_all(requests.as_bytes()).unwrap();
        });
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        writer.join().unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), MANY);
    });
    sent.await.unwrap();
}

#[tokio::test]
async fn logins_go_on_when_nobody_reads_the_log_and_dropped_lines_are_counted_and_logged() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut service = Service::with_fifo(dir.path(), &wechat);
    assert_eq!(service.dropped().await, 0);
    // Each code can be repeated a limited number of times.
    let login = |number| format!("/onLogin?code=user-alice.{}", number / 50);
    send_many(service.client.addr, login).await;
    service.client.get("/healthz").await.assert_status(200);
    let dropped = service.dropped().await;
    assert!(dropped > 0);

    // When the reader continues, so does the log.
    let (reported, _) = service.reported("");
    assert!(reported >= dropped, "{reported} after {dropped}");
    assert_eq!(service.dropped().await, reported);
    service.client.get("/healthz").await.assert_status(200);
    let mut line = String::new();
    while !line.contains(r#"route="/healthz" status=200"#) {
        line.clear();
        service.reader.read_line(&mut line).unwrap();
    }
    assert_eq!(service.dropped().await, reported);
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_a_stop_by_a_second_at_most() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let service = Service::with_fifo(dir.path(), &wechat);
    send_many(service.client.addr, |_| "/healthz".into()).await;
    // The pipe is full to the last byte.
    let mut options = File::options();
    let nonblocking = options.write(true).custom_flags(O_NONBLOCK);
    let mut fifo = nonblocking.open(dir.path().join("fifo")).unwrap();
    while fifo.write(b"\n").is_ok() {}
    let (status, duration) = service.stop().await;
    assert!(status.success(), "{status}");
    assert!(duration < Duration::from_millis(2_500), "{duration:?}");
}

#[tokio::test]
async fn a_log_whose_reader_has_left_holds_up_nothing() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (ours, stderr) = UnixStream::pair().unwrap();
    let mut service = Service::start(
        dir.path(),
        &wechat,
        OwnedFd::from(ours).into(),
        stderr.into(),
    );
    service.close_reader();
    send_many(service.client.addr, |_| "/healthz".into()).await;
    let (status, duration) = service.stop().await;
    assert!(status.success(), "{status}");
    // It accepts connections for a second.
    assert!(duration < Duration::from_millis(1800), "{duration:?}");
}

/// Sends requests whose lines cannot be written, and one whose line can be after `mend`: each line must be
/// written, or counted and reported.
async fn each_line_is_written_or_counted(mut service: Service, mend: impl FnOnce(&mut Service)) {
    send_many(service.client.addr, |_| "/healthz".into()).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while service.dropped().await == 0 {
        assert!(Instant::now() < deadline, "no line is counted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    mend(&mut service);
    service.client.get("/healthz").await.assert_status(200);
    let read = move || {
        let (reported, read) = service.reported(r#"route="/healthz""#);
        (service, reported, read)
    };
    let (service, reported, read) = tokio::task::spawn_blocking(read).await.unwrap();
    assert!(reported > 1000, "{reported}");
    // Those of the scrapes may be among the dropped, and the last line may come after the report.
    let lines = usize::try_from(reported).unwrap() + read;
    assert!((MANY..MANY + 100).contains(&lines), "{lines}");
    assert_eq!(service.dropped().await, reported);
}

#[tokio::test]
async fn lines_that_a_disk_refuses_are_counted_and_logged_when_it_takes_them_again() {
    let (wechat, disk) = (FakeWechat::start().await, Disk::new());
    let path = disk.dir().join("log");
    let stderr = File::create(&path).unwrap();
    let reader = File::open(&path).unwrap();
    let service = Service::of(disk.command(&settings(&wechat)), reader, stderr.into());
    disk.fault("write", "EIO");
    each_line_is_written_or_counted(service, |_| disk.mend()).await;
}

#[tokio::test]
async fn lines_without_a_reader_are_counted_and_logged_when_there_is_one_again() {
    let (wechat, dir) = (FakeWechat::start().await, tempfile::tempdir().unwrap());
    let mut service = Service::with_fifo(dir.path(), &wechat);
    service.close_reader();
    let fifo = dir.path().join("fifo");
    each_line_is_written_or_counted(service, |service| {
        let reader = File::options().read(true).write(true).open(fifo);
        service.reader = BufReader::new(reader.unwrap());
    })
    .await;
}

#[tokio::test]
async fn lines_that_a_full_non_blocking_standard_error_refuses_are_counted_and_logged() {
    let wechat = FakeWechat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (ours, stderr) = UnixStream::pair().unwrap();
    stderr.set_nonblocking(true).unwrap();
    let ours = OwnedFd::from(ours).into();
    let mut service = Service::start(dir.path(), &wechat, ours, stderr.into());
    send_many(service.client.addr, |_| "/healthz".into()).await;
    let dropped = service.dropped().await;
    assert!(dropped > 0);
    let client = Client::new(service.client.addr);
    let mut reading = tokio::task::spawn_blocking(move || {
        let (reported, _) = service.reported("");
        (service, reported)
    });
    // What is in the buffer is written with the next line.
    let (_service, reported) = loop {
        tokio::select! {
            read = &mut reading => break read.unwrap(),
            answer = client.get("/healthz") => answer.assert_status(200),
        };
    };
    assert!(reported >= dropped, "{reported} after {dropped}");
}
