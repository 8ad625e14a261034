//! What a configuration file can have wrong, and what is said of it.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use tempfile::TempDir;

#[path = "../../../../../fuzz/bodies/configuration.rs"]
mod body;
#[path = "../../../../../fuzz/bodies/replay.rs"]
mod replay;

use super::*;
use crate::settings::{Environment, Flags, Settings};

/// What is said of a file with this text, a line for each mistake, without the name of the file.
fn said(text: &str) -> Vec<String> {
    let read = Configuration::parse(Path::new("a.toml"), text.to_owned());
    let gathered = read.and_then(|file| {
        Settings::gather(&Flags::default(), &Environment::default(), Some(&file))?;
        Ok(())
    });
    match gathered {
        Ok(()) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(|mistake| mistake.to_string().replace("a.toml:", "")).collect(),
    }
}

/// What is said of a file with these bytes, without its path.
fn said_of_bytes(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.toml");
    std::fs::write(&path, bytes).expect("written");
    said_of(&path, &folder)
}

fn said_of(path: &Path, folder: &TempDir) -> String {
    let folder = format!("{}/", folder.path().display());
    match Configuration::read(path) {
        Ok(Some(file)) => format!("settings: {}", file.len()),
        Ok(None) => "not there".to_owned(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n").replace(&folder, ""),
    }
}

/// C2, C4: defaults count; carriage returns are fine.
#[test]
fn an_empty_file_says_nothing() {
    for text in ["", "\n", "# nothing\r\n", "[hub]\n[limits]\r\n"] {
        assert_eq!(said(text), [""; 0], "{text:?}");
    }
}

#[test]
fn what_is_said_in_a_file_counts() {
    let text = "[hub]\r\nlisten = [\r\n  \"127.0.0.1:0\", # here\r\n]\r\nmemory = ['press/1']\r\n\r\n\
                [limits]\r\nlinks = 0x10\r\npayload = 65536\r\nlink-bulk = \"12MB\"\r\n[membership]\r\nbeat = '1m30s'\r\n\
                [log]\r\nfile = \"logs/hub.log\"";
    let file = Configuration::parse(Path::new("/etc/convoke/a.toml"), text.to_owned()).expect("it is right");
    let settings = Settings::gather(&Flags::default(), &Environment::default(), Some(&file)).expect("it is right");
    let options = settings.hub();
    assert_eq!((options.listen, options.memory), (vec!["127.0.0.1:0".to_owned()], vec!["press/1".to_owned()]));
    assert_eq!((options.links_max, options.payload_bytes_max, options.link_bulk_bytes_max), (16, 65_536, 12_000_000));
    assert_eq!(options.membership.beat.as_secs(), 90);
    assert_eq!(settings.get("limits.links").origin.to_string(), "/etc/convoke/a.toml:8:9");
    // Wherever the hub is started.
    assert_eq!(settings.log().file, Some("/etc/convoke/logs/hub.log".into()));
}

/// C3, C19: what was opened is looked at, wherever a link leads.
#[test]
fn what_is_no_file_is_refused_and_never_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.toml");
    assert_eq!(said_of(&path, &folder), "not there");
    assert_eq!(said_of(folder.path(), &folder).split("`: ").last(), Some("it is no file"));
    for special in ["/dev/zero", "/dev/null", "/proc/self/fd"] {
        assert_eq!(said_of(Path::new(special), &folder), format!("configuration file `{special}`: it is no file"));
    }
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    assert_eq!(said_of(&path, &folder), "configuration file `a.toml`: it is no file");
    let link = folder.path().join("link.toml");
    symlink(&path, &link).expect("a link");
    assert_eq!(said_of(&link, &folder), "configuration file `link.toml`: it is no file");
}

/// C3.
#[test]
fn a_file_that_is_too_long_is_not_read_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.toml");
    // A hole, which takes no room on the disk.
    File::create(&path).and_then(|file| file.set_len(1 << 30)).expect("made");
    assert_eq!(
        said_of(&path, &folder),
        "configuration file `a.toml`: it is longer than 1048576 bytes, which no configuration is"
    );
    let mut longest = b"[hub]\n#".to_vec();
    longest.resize(1 << 20, b' ');
    assert_eq!(said_of_bytes(&longest), "settings: 0");
}

#[test]
fn a_file_that_everybody_can_write_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.toml");
    std::fs::write(&path, "").expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o646)).expect("set");
    assert_eq!(
        said_of(&path, &folder),
        "configuration file `a.toml`: everybody can write it (mode 646); make it 644 or 600"
    );
}

/// C4.
#[test]
fn what_is_no_text_is_told_with_its_place() {
    for (bytes, says) in [
        (&b"[hub]\nselect = \"\xff\"\n"[..], "a.toml:2:11: this is not UTF-8, which a configuration file must be"),
        (b"\xef\xbb\xbf[hub]\n", "a.toml:1:1: the file begins with a byte order mark: save it as UTF-8 without one"),
        (b"[hub]\n\0", "a.toml:2:1: there is a NUL in the file, which no text has"),
        (b"\xff\xfe[\0h\0", "a.toml:1:1: this is not UTF-8, which a configuration file must be"),
    ] {
        assert_eq!(said_of_bytes(bytes), says);
    }
}

/// C5.
#[test]
fn what_is_no_toml_is_told_with_its_place_in_every_section() {
    for (section, _) in SECTIONS {
        for (line, place) in
            [("= 1", "3:1"), ("a b = 1", "3:3"), ("a = ", "3:5"), ("a = [1, 2", "3:"), ("a = \"x", "3:")]
        {
            let said = said(&format!("# first\n[{section}]\n{line}\n"));
            assert!(said.iter().any(|line| line.starts_with(place)), "[{section}] {line}: {said:?}");
        }
        let said = said(&format!("[{section}\n"));
        assert!(said.iter().any(|line| line.starts_with("1:")), "{said:?}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    let said = said(&format!("[hub]\nlisten = {}\n", "[".repeat(100_000)));
    assert!(!said.is_empty() && said.iter().all(|line| line.len() < 300), "{said:?}");
}

/// C6; C17: there is no include.
#[test]
fn an_unknown_key_is_told_with_what_was_meant() {
    for (text, says) in [
        ("[hub]\nlisen = 'a'", "2:1: there is no `lisen` in `[hub]`; did you mean `listen`?"),
        ("[hub]\nlinks = 5", "2:1: there is no `links` in `[hub]`; it belongs into `[limits]`"),
        ("[hub]\ncolour = 'a'", "2:1: there is no `colour` in `[hub]`; there are `listen`, `data`, `memory`, `select`"),
        ("[limit]\nlinks = 5", "1:2: there is no section `[limit]`; did you mean `[limits]`?"),
        (
            "[quux]",
            "1:2: there is no section `[quux]`; there are `[hub]`, `[tls]`, `[limits]`, `[membership]`, `[log]`, `[[uplink]]`",
        ),
        ("listen = 'a'", "1:1: `listen` stands in no section; it belongs into `[hub]`"),
        ("hub = 1", "1:1: `hub` stands in no section; `hub` is a section: write `[hub]`"),
        ("[[hub]]\nlisten = 'a'", "1:3: `hub` is a section: write `[hub]`, once"),
        ("what = 1", "1:1: `what` stands in no section"),
        (
            "[hub.listen]\na = 1",
            "1:1: `hub.listen` is a table: it must be addresses, such as `127.0.0.1:7117` or \
                                 `unix:///run/convoke/hub.sock`",
        ),
        ("include = 'other.toml'", "1:1: `include` stands in no section"),
    ] {
        assert_eq!(said(text), [says]);
    }
}

/// C7, C10.
#[test]
fn what_is_there_twice_is_told_with_both_places() {
    for (text, says) in [
        ("[hub]\ndata = '/a'\n\ndata = '/b'", "4:1: `data` is there twice, first in line 2; once is allowed"),
        ("[log]\n[hub]\n[log]\n", "3:2: `log` is there twice, first in line 1; once is allowed"),
        (
            "[hub]\nlisten = ['127.0.0.1:1', 'tcp://127.0.0.1:1']",
            "2:26: `hub.listen` has `tcp://127.0.0.1:1` twice: a hub listens once at an address",
        ),
        ("[hub]\nmemory = [\"a\", \"a\"]", "2:16: `hub.memory` has `a` twice"),
    ] {
        assert_eq!(said(text), [says]);
    }
}

/// C8, C9, C10, C17.
#[test]
fn a_wrong_value_is_told_with_what_is_allowed() {
    let links = "it must be a whole number from 1 to 1000000";
    let payload = "it must be a size from 1KiB to 64MiB, such as `8MiB`";
    let beat = "it must be a time up to 1h, with its unit, such as `500ms`, `15s` or `1m30s`";
    let ways = |number, big: &str, small: &str| {
        format!("; write `{number}{big}` (powers of 1024) or `{number}{small}` (powers of 1000)")
    };
    for (text, says) in [
        ("[limits]\nlinks = 0", format!("2:9: `limits.links` is 0: {links}")),
        ("[limits]\nlinks = -5", format!("2:9: `limits.links` is -5: {links}")),
        ("[limits]\nlinks = 1e3", format!("2:9: `limits.links` is 1e3: {links}")),
        ("[limits]\nlinks = true", format!("2:9: `limits.links` is a yes or no: {links}")),
        ("[limits]\nlinks = \"5\"", format!("2:9: `limits.links` is a text: {links}; write it without quotes")),
        ("[limits]\nlinks = 18446744073709551616", format!("2:9: `limits.links` is 18446744073709551616: {links}")),
        ("[limits]\nlinks = 2026-11-22", format!("2:9: `limits.links` is a date: {links}")),
        ("[limits]\npayload = '1GiB'", format!("2:11: `limits.payload` is `1GiB`: {payload}")),
        ("[limits]\npayload = '1GB'", format!("2:11: `limits.payload` is `1GB`: {payload}")),
        ("[limits]\npayload = '1gb'", format!("2:11: `limits.payload` is `1gb`: {payload}{}", ways(1, "GiB", "GB"))),
        ("[limits]\npayload = '8 MB'", format!("2:11: `limits.payload` is `8 MB`: {payload}{}", ways(8, "MiB", "MB"))),
        ("[limits]\npayload = 1e9", format!("2:11: `limits.payload` is 1e9: {payload}")),
        ("[limits]\npayload = -1", format!("2:11: `limits.payload` is -1: {payload}")),
        ("[membership]\nbeat = 5", format!("2:8: `membership.beat` is 5: {beat}; write `\"5s\"` for seconds")),
        ("[membership]\nbeat = '5'", format!("2:8: `membership.beat` is `5`: {beat}; write `5s` for seconds")),
        ("[membership]\nbeat = '-5s'", format!("2:8: `membership.beat` is `-5s`: {beat}")),
        ("[membership]\nbeat = '9999y'", format!("2:8: `membership.beat` is `9999y`: {beat}")),
        (
            "[log]\nformat = 'jsn'",
            "2:10: `log.format` is `jsn`: it must be `text` or `json`; did you mean `json`?".into(),
        ),
        (
            "[hub]\nlisten = []",
            "2:10: `hub.listen` is a list: it must be addresses, such as `127.0.0.1:7117` or \
                                `unix:///run/convoke/hub.sock`"
                .into(),
        ),
        ("[hub]\nlisten = ['127.0.0.1:0', 7]", "2:26: `hub.listen` has a number in it: it must be addresses".into()),
        (
            "[hub]\nlisten = ['127.0.0.1:65536']",
            "2:11: `hub.listen`: `127.0.0.1:65536` is not an address: a port is a \
                                                 number from 0 to 65535"
                .into(),
        ),
        (
            "[hub]\ndata = '~/convoke'",
            "2:8: `hub.data` is `~/convoke`: it must be a whole path; only a shell knows what \
                                       `~` is"
                .into(),
        ),
        (
            "[hub]\nmemory = 'press'",
            "2:10: `hub.memory` is a text: it must be `true` for all, `false`, or names".into(),
        ),
    ] {
        assert_eq!(said(text), [says]);
    }
}

/// C10.
#[test]
fn any_free_port_may_be_listened_on_twice() {
    assert_eq!(said("[hub]\nlisten = ['127.0.0.1:0', '127.0.0.1:0']"), [""; 0]);
}

/// C16.
#[test]
fn what_contradicts_itself_is_refused() {
    for (text, says) in [
        (
            "[limits]\npayload = '64MiB'\nlink-bulk = '1MiB'",
            "3:13: `limits.link-bulk` is 1MiB, less than an event of the longest payload takes: twice `limits.payload`, and \
             4KiB",
        ),
        (
            "[limits]\nhub-bulk = '1MiB'",
            "2:12: `limits.hub-bulk` is 1MiB, less than may wait for one link: `limits.link-bulk`",
        ),
        ("[membership]\ndead-beats = 2", "2:14: `membership.dead-beats` is 2, less than `membership.suspect-beats`"),
        ("[membership]\nremoved-beats = 5", "2:17: `membership.removed-beats` is 5, less than `membership.dead-beats`"),
    ] {
        assert_eq!(said(text), [says]);
    }
    // A default gives way.
    let file = Configuration::parse(Path::new("a.toml"), "[limits]\npayload = '64MiB'".to_owned()).expect("right");
    let settings = Settings::gather(&Flags::default(), &Environment::default(), Some(&file)).expect("right");
    assert_eq!(settings.hub().link_bulk_bytes_max, (128 << 20) + 4096);
}

#[test]
fn every_mistake_is_told_in_the_order_of_the_file() {
    assert_eq!(said("[limits]\nlinks = 0\nfoo = 1\npayload = 'x'\n[hub]\nlisten = 'a:b'\n").len(), 4);
    let said = said("[hub]\nb = 1\na = 2\n");
    assert!(said[0].starts_with("2:1: ") && said[1].starts_with("3:1: "), "{said:?}");
}

#[test]
fn a_profile_is_what_counts_where_nothing_is_set() {
    let text = "[membership]\nprofile = 'nope'\nsuspect-beats = 3\n".to_owned();
    let file = Configuration::parse(Path::new("a.toml"), text).expect("it is right");
    let settings = Settings::gather(&Flags::default(), &Environment::default(), Some(&file)).expect("it is right");
    let nope = convoke::Membership::nope();
    assert_eq!(settings.hub().membership, convoke::Membership { suspect_beats: 3, ..nope });
    assert_eq!(settings.get("membership.beat").origin.to_string(), "membership.profile");
}

/// What `fuzz/corpus` holds, and changes of it; see fuzz/README.md.
#[test]
fn arbitrary_bytes_as_a_file_are_taken_or_told_what_is_wrong() {
    replay::replay("configuration", 20, body::configuration);
}
