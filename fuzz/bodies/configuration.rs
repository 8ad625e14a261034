//! Arbitrary bytes as a configuration file: it is taken, or each mistake is a line that does not act on a terminal.

use std::path::Path;

use crate::render;
use crate::settings::{Environment, Flags, Settings, Wanted};

/// Reads `data` as the file of a hub.
pub(crate) fn configuration(data: &[u8]) {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder of its own");
    }
    FOLDER.with(|folder| {
        let path = folder.path().join("a.toml");
        std::fs::write(&path, data).expect("there is room on the disk");
        read(&path);
    });
}

fn read(path: &Path) {
    let (flags, environment) = (Flags::default(), Environment::default());
    let read = Wanted::of(Some(path), &flags, &environment).read();
    match read.and_then(|file| Settings::gather(&flags, &environment, Some(&file.expect("it is there")))) {
        Ok(settings) => {
            for chosen in settings.all() {
                let _ = chosen.origin.to_string();
            }
            let _ = (settings.hub(), settings.log(), settings.keeps_nothing());
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                let line = mistake.to_string();
                let shown = render::escaped(&line);
                assert!(!shown.contains(char::is_control) && line.len() < 8192, "{line:?}");
            }
        }
    }
}
