//! What docs/operating.md tells those to do who run a hub for others.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::story::Story;

fn stop_hub(story: &mut Story) {
    let hub = story.take_hub();
    hub.signal(Signal::TERM);
    assert_eq!(hub.ended().code(), 0);
}

/// What is worth to be kept of a hub's folder.
fn copy(from: &Path, to: &Path) {
    fs::DirBuilder::new().create(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "lock" && entry.file_name() != "reserve" {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_copy_of_a_stopped_hubs_folder_is_a_backup() {
    let mut story = Story::with_hub();
    story.run(["set", "recipe/steps", "3"]).is(0, "2\n", "");
    assert_eq!(story.run(["token", "create", "cam", "--allow", "publish cam/#"]).code(), 0);
    stop_hub(&mut story);
    copy(&story.path("state/convoke"), &story.path("elsewhere"));
    fs::remove_dir_all(story.path("state")).unwrap();

    let data = story.path("elsewhere").display().to_string();
    story.start_hub_in(&data);
    story.run(["get", "recipe/steps"]).is(0, "3\n", "");
    story.run(["publish", "cam/1", "x", "--confirm", "--token-file", "cam.token"]).is(0, "0\n", "");
    assert_eq!(story.run(["publish", "press/1", "x", "--confirm", "--token-file", "cam.token"]).code(), 77);
}

/// The hub went on with the number that it had used before for its next start. So programs that it had let in then were taken
/// for impostors of those that came first now, and were turned away for good.
#[test]
fn programs_come_back_to_a_hub_that_was_put_back_from_an_older_copy() {
    let mut story = Story::with_hub();
    story.run(["set", "before", "1"]).is(0, "2\n", "");
    let address = story.address().to_owned();
    let data = story.path("state/convoke");
    stop_hub(&mut story);
    copy(&data, &story.path("backup"));

    // The first of all that join.
    story.start_hub(&address);
    let panel = story.watch(["#"]);
    panel.prints("before 1\n");
    assert_eq!(story.run(["set", "since", "1"]).code(), 0);
    panel.prints("since 1\n");
    panel.signal(Signal::STOP);
    stop_hub(&mut story);
    fs::remove_dir_all(&data).unwrap();
    copy(&story.path("backup"), &data);

    // Another one is the first now.
    story.start_hub(&address);
    let _other = story.subscribe(["x"]);
    panel.signal(Signal::CONT);
    // What was written behind the copy is gone, and it is told so.
    panel.prints("since\t(deleted)\n");
    assert_eq!(story.run(["set", "after", "1"]).code(), 0);
    panel.prints("after 1\n");
}

#[test]
fn the_unit_for_systemd_is_right() {
    let story = Story::without_hub();
    let unit = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/convoke.service")).unwrap();
    let unit = unit.replace("/usr/local/bin/convoke", env!("CARGO_BIN_EXE_convoke"));
    let file = story.file("convoke.service", unit.as_bytes());
    match Command::new("systemd-analyze").args(["verify", &file]).output() {
        Ok(verified) => {
            let said = String::from_utf8_lossy(&verified.stderr);
            assert!(verified.status.success() && !said.contains("convoke.service"), "{said}");
        }
        Err(error) => println!("skipped: this machine has no `systemd-analyze`: {error}"),
    }
}
