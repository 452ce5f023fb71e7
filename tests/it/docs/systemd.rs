//! The systemd unit and its sockets: the pages show them, and the commands on the pages fit them.

use std::fs;
use std::path::Path;

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
    let copy = "sudo cp -a /var/lib/wxlogin/wxlogin.sessions /root/";
    assert_both_languages_have("deployment.md", copy);
    assert_both_languages_have("deployment.md", CHOWN);
    assert_both_languages_have("settings.md", CHOWN);
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
