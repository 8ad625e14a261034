//! `convoke store`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::story::{Ended, Story};

/// A hub in the folder `data` that keeps three values, a journal of five entries, and a token; stopped.
fn kept() -> Story {
    let mut story = Story::without_hub();
    story.start_hub_in("data");
    fill(&story, 5);
    stop(&mut story);
    story
}

fn fill(story: &Story, entries: usize) {
    for n in 1..=3 {
        assert_eq!(story.run(["set", &format!("press/{n}"), &"x".repeat(400 * n)]).code(), 0);
    }
    for n in 1..=entries {
        let command = format!("{n} {}", "x".repeat(400));
        story.run(["journal", "append", "plan", &command]).is(0, &format!("{n}\n"), "");
    }
    assert_eq!(story.run(["token", "create", "cam", "--allow", "publish cam/#"]).code(), 0);
}

fn stop(story: &mut Story) {
    let hub = story.take_hub();
    hub.signal(Signal::TERM);
    assert_eq!(hub.ended().code(), 0);
}

/// All files in a folder and in those in it, with what is in them.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.is_dir() {
            true => found.extend(files(&path).into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes))),
            false => drop(found.insert(name, fs::read(&path).unwrap())),
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for name in files(from).keys() {
        let file = to.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::copy(from.join(name), file).unwrap();
    }
}

/// Changes a bit of every byte in a range of a file.
fn spoil(file: &Path, range: std::ops::Range<usize>) {
    let mut bytes = fs::read(file).unwrap();
    bytes[range].iter_mut().for_each(|byte| *byte ^= 4);
    fs::write(file, bytes).unwrap();
}

/// Where these bytes are in a file for the last time.
fn last(file: &Path, wanted: &[u8]) -> usize {
    let bytes = fs::read(file).unwrap();
    bytes.windows(wanted.len()).rposition(|found| found == wanted).unwrap()
}

/// What was printed of it.
fn told(ended: &Ended, what: &str) -> String {
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    let said = ended.stdout();
    let line = said.lines().find(|line| line.starts_with(&format!("{what} ")));
    line.unwrap_or_else(|| panic!("no `{what}` in {said}"))[what.len()..].trim().to_owned()
}

fn amounts(ended: &Ended) -> [String; 4] {
    ["values", "journals", "entries", "tokens"].map(|what| told(ended, what))
}

const ALL: [&str; 4] = ["3", "1", "5", "1"];

fn verify(story: &Story, data: &str) -> Ended {
    story.run(["store", "verify", "--data", data])
}

#[test]
fn a_backup_is_made_while_the_hub_runs_and_makes_a_hub_again() {
    let mut story = Story::with_hub();
    fill(&story, 5);
    let made = story.run(["store", "backup", "monday.backup"]);
    assert_eq!(amounts(&made), ALL);
    let seen = story.run(["store", "verify", "monday.backup"]);
    assert_eq!((seen.code(), seen.stdout()), (0, made.stdout()));
    // What comes later is not in it.
    assert_eq!(story.run(["set", "press/1", "later"]).code(), 0);
    story.kill_hub();
    let restored = story.run(["store", "restore", "monday.backup", "--data", "again"]);
    assert_eq!(amounts(&restored), ALL);
    assert_eq!(told(&restored, "hub"), told(&made, "hub"));
    assert_ne!(told(&restored, "history"), told(&made, "history"));
    assert_eq!(amounts(&verify(&story, "again")), ALL);
    story.start_hub_in("again");
    story.run(["get", "press/1"]).is(0, &format!("{}\n", "x".repeat(400)), "");
    assert_eq!(story.run(["journal", "append", "plan", "6"]).stdout(), "6\n");
    story.run(["publish", "cam/1", "x", "--confirm", "--token-file", "cam.token"]).is(0, "0\n", "");
}

#[test]
fn a_backup_of_a_stopped_or_killed_hub_is_made_of_its_folder() {
    let mut story = Story::without_hub();
    story.start_hub_in("data");
    fill(&story, 5);
    story.kill_hub();
    let before = files(&story.path("data"));
    assert_eq!(amounts(&story.run(["store", "backup", "killed.backup", "--data", "data"])), ALL);
    assert_eq!(files(&story.path("data")), before);
    story.start_hub_in("data");
    // It runs, and gives one itself.
    let address = story.address().to_owned();
    let other = story.run(["store", "backup", "running.backup", "--data", "data", "--address", &address]);
    assert_eq!(amounts(&other), ALL);
    stop(&mut story);
    let json = story.run(["store", "backup", "stopped.backup", "--data", "data", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout()).unwrap();
    assert_eq!(
        (&json["values"], &json["entries"], &json["segments"]),
        (&3.into(), &5.into(), &serde_json::Value::Null)
    );
    let length = fs::metadata(story.path("stopped.backup")).unwrap().len();
    assert_eq!(json["bytes"], length);
}

#[cfg(unix)]
#[test]
fn only_the_owner_of_a_hub_gets_a_backup_and_only_the_user_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let story = Story::with_hub();
    fill(&story, 1);
    story.run(["store", "backup", "b", "--token-file", "cam.token"]).is(
        77,
        "",
        "convoke: backup: only the hub's owner gets it, and `cam` is another; give it the admin token\n",
    );
    assert!(!story.path("b").exists());
    assert_eq!(story.run(["store", "backup", "b"]).code(), 0);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&story.path("b")), 0o600);
    assert_eq!(story.run(["store", "restore", "b", "--data", "again"]).code(), 0);
    assert_eq!(mode(&story.path("again")), 0o700);
    for name in files(&story.path("again")).keys() {
        assert_eq!(mode(&story.path("again").join(name)), 0o600, "{name}");
    }
    // Neither is whoever has it the owner of what is made of it.
    assert!(!story.path("again/admin.token").exists());
}

#[test]
fn a_backup_never_takes_the_place_of_anything() {
    let story = kept();
    let there = story.file("there", b"something");
    story.run(["store", "backup", &there, "--data", "data"]).is(
        73,
        "",
        &format!(
            "convoke: writing backup `{there}`: it is there already, and a backup never takes the place of anything; give \
             another name\n"
        ),
    );
    assert_eq!(fs::read(&there).unwrap(), b"something");
    story.run(["store", "backup", "no/folder", "--data", "data"]).is(
        73,
        "",
        "convoke: writing backup `no/folder`: there is no folder `no`; make it first\n",
    );
    assert_eq!(story.run(["store", "backup", "x", "--data", "nothing"]).code(), 69);
    story.run(["store", "backup", "x"]).is(69, "", "convoke: no hub answers at HUB; start one with `convoke hub`\n");
    let left: Vec<String> = files(&story.path("")).into_keys().filter(|name| name.contains(".unfinished")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_backup_that_finds_no_room_is_told_and_leaves_nothing() {
    let mut story = kept();
    backup_without_room(&story);
    // Nor does the hub wait for it, that would give it.
    story.start_hub_in("data");
    backup_without_room(&story);
    assert_eq!(story.run(["store", "backup", "b", "--data", "data"]).code(), 0);
}

#[cfg(target_os = "linux")]
fn backup_without_room(story: &Story) {
    let plain = story.convoke(["store", "backup", "b", "--data", "data"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -f 2; exec \"$@\"", "sh"]).arg(plain.get_program()).args(plain.get_args());
    limited.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(story.path("")).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let told = "convoke: writing backup `b`: File too large; raise the limit (`ulimit -f`), and try again\n";
    story.start_command(limited).ended().is(74, "", told);
    let left: Vec<String> = files(&story.path("")).into_keys().filter(|name| name.starts_with('b')).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_backup_of_a_hub_that_keeps_nothing_is_refused() {
    let mut story = Story::without_hub();
    story.start_hub_with("127.0.0.1:0", &["--memory"]);
    story.run(["store", "backup", "b"]).is(69, "", "convoke: backup: this hub keeps nothing\n");
}

#[test]
fn with_the_folder_of_a_hub_only_that_one_gives_the_backup() {
    let mut story = Story::without_hub();
    let other = story.start(["hub", "--listen", "127.0.0.1:0", "--data", "other"]);
    other.listens_at();
    story.start_hub_in("data");
    let ended = story.run(["store", "backup", "b", "--data", "other"]);
    ended.is(
        64,
        "",
        "convoke: backup: a hub runs on `other`, and the one at HUB is another; name its address with --address\n",
    );
}

#[test]
fn a_backup_of_which_a_bit_is_another_is_found_and_nothing_is_made_of_it() {
    let story = kept();
    assert_eq!(story.run(["store", "backup", "b", "--data", "data"]).code(), 0);
    let whole = fs::read(story.path("b")).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 12).chain([whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let damaged = story.file("damaged", &bytes);
        let ended = story.run(["store", "verify", &damaged]);
        // Of another format it may also seem to be.
        assert!([65, 78].contains(&ended.code()), "byte {at}: {}", ended.stderr());
        assert_eq!((ended.stdout().as_str(), ended.stderr().lines().count()), ("", 1), "byte {at}");
    }
    let cut = story.file("cut", &whole[..whole.len() - 100]);
    let ended = story.run(["store", "restore", &cut, "--data", "again"]);
    assert_eq!(ended.code(), 65);
    let start = format!("convoke: backup `{cut}` is damaged: it ends before its end (at byte {})", whole.len() - 100);
    assert!(ended.stderr().starts_with(&start), "{}", ended.stderr());
    assert!(!story.path("again").exists());
    assert_eq!(story.run(["store", "verify", "cam.token"]).code(), 65);
}

#[test]
fn restoring_wants_an_empty_folder() {
    let mut story = kept();
    assert_eq!(story.run(["store", "backup", "b", "--data", "data"]).code(), 0);
    let before = files(&story.path("data"));
    let ended = story.run(["store", "restore", "b", "--data", "data"]);
    assert_eq!(ended.code(), 73);
    let said = ended.stderr();
    assert!(said.starts_with("convoke: data folder `data`: it is not empty (there is `"), "{said}");
    assert_eq!(files(&story.path("data")), before);
    fs::create_dir(story.path("empty")).unwrap();
    assert_eq!(story.run(["store", "restore", "b", "--data", "empty"]).code(), 0);
    story.start_hub_in("empty");
    assert_eq!(story.run(["store", "restore", "b", "--data", "empty"]).code(), 73);
}

#[test]
fn who_has_heard_more_than_was_restored_is_told_so() {
    let mut story = Story::without_hub();
    story.start_hub_in("data");
    let address = story.address().to_owned();
    fill(&story, 5);
    assert_eq!(story.run(["store", "backup", "at-5"]).code(), 0);
    for n in 6..=10 {
        story.run(["journal", "append", "plan", &n.to_string()]).is(0, &format!("{n}\n"), "");
    }
    assert_eq!(story.run(["set", "press/4", "new"]).code(), 0);
    assert_eq!(story.run(["set", "press/1", "new"]).code(), 0);
    let follower = story.follow(["plan"]);
    follower.prints("\n10 ");
    let watcher = story.watch(["press/+"]);
    watcher.prints("press/4 new\n");
    stop(&mut story);
    assert_eq!(story.run(["store", "restore", "at-5", "--data", "again"]).code(), 0);
    story.start_hub_with(&address, &["--data", "again"]);
    let ended = follower.ended();
    assert!(ended.stderr().contains("the follower has entry 10 of another history"), "{}", ended.stderr());
    assert!(ended.stderr().contains("the journal has 5 entries now"), "{}", ended.stderr());
    watcher.prints("press/4\t(deleted)\n").prints(&format!("press/1 {}\n", "x".repeat(400)));
}

#[test]
fn a_store_is_looked_through_without_a_change() {
    let mut story = kept();
    let data = story.path("data");
    let before = files(&data);
    let seen = verify(&story, "data");
    assert_eq!(amounts(&seen), ALL);
    assert_eq!(files(&data), before);
    // Damaged in one file or the other, or in part gone.
    let spoilt = |name: &str, how: &dyn Fn(&Path)| {
        copy(&data, &story.path("spoilt"));
        how(&story.path("spoilt").join(name));
        let before = files(&story.path("spoilt"));
        let ended = verify(&story, "spoilt");
        assert_eq!((ended.code(), ended.stdout(), ended.stderr().lines().count()), (65, String::new(), 1), "{name}");
        assert!(ended.stderr().contains("`convoke store repair`"), "{name}: {}", ended.stderr());
        assert_eq!(files(&story.path("spoilt")), before, "{name}");
        let hub = story.run(["hub", "--data", "spoilt", "--listen", "127.0.0.1:0"]);
        assert_eq!(hub.code(), 65, "{name}: {}", hub.stderr());
        assert!(hub.stderr().ends_with("; `convoke store verify` looks through all of it\n"), "{}", hub.stderr());
        ended.stderr()
    };
    spoilt("store.redb", &|file| spoil(file, last(file, b"press/2")..last(file, b"press/2") + 1));
    spoilt("store.redb", &|file| spoil(file, last(file, b"4 xxx")..last(file, b"4 xxx") + 1));
    spoilt("store.redb", &|file| fs::write(file, "").unwrap());
    spoilt("store.redb", &|file| fs::remove_file(file).unwrap());
    spoilt("hub.json", &|file| spoil(file, 0..1));
    spoilt("hub.json", &|file| fs::remove_file(file).unwrap());
    spoilt("log.meta", &|file| fs::write(file, [0; 8192]).unwrap());
    spoilt("log.meta", &|file| fs::remove_file(file).unwrap());
    let said = spoilt("log.00000000000000000001", &|file| spoil(file, last(file, b"4 xxx")..last(file, b"4 xxx") + 1));
    assert!(said.contains("log.00000000000000000001` is corrupt: the records end at byte "), "{said}");
    spoilt("log.00000000000000000001", &|file| fs::remove_file(file).unwrap());
    story.start_hub_in("data");
    let id = story.hub().id();
    verify(&story, "data").is(
        75,
        "",
        &format!(
            "convoke: data folder `data`: a hub is running on it (process {id}); stop it first; `convoke store backup` works \
             while it runs\n"
        ),
    );
}

#[test]
fn what_was_killed_is_looked_through_with_what_the_log_has() {
    let mut story = Story::without_hub();
    story.start_hub_in("data");
    fill(&story, 5);
    story.kill_hub();
    let before = files(&story.path("data"));
    assert_eq!(amounts(&verify(&story, "data")), ALL);
    assert_eq!(files(&story.path("data")), before);
}

#[test]
fn where_there_is_no_store_that_is_said() {
    let story = kept();
    fs::create_dir(story.path("empty")).unwrap();
    for verb in ["verify", "repair", "compact"] {
        let said = "convoke: data folder `empty`: there is no store in it; name the folder of a hub with --data\n";
        story.run(["store", verb, "--data", "empty"]).is(69, "", said);
        assert_eq!(story.run(["store", verb, "--data", "nothing"]).code(), 69);
    }
    assert_eq!(files(&story.path("empty")).len(), 0);
}

#[test]
fn a_folder_where_a_backup_is_wanted_is_looked_through_and_not_restored() {
    let story = kept();
    assert_eq!(amounts(&story.run(["store", "verify", "data"])), ALL);
    assert_eq!(story.run(["store", "backup", "b", "--data", "data"]).code(), 0);
    for (named, file) in [("data", "b"), ("b", "data"), ("nothing", "b"), ("nothing", "data")] {
        let mut verify = story.convoke(["store", "verify", file]);
        verify.env("CONVOKE_DATA", named);
        assert_eq!(amounts(&story.start_command(verify).ended()), ALL, "{file} beside {named}");
    }
    let said = "convoke: opening backup `data`: it is a folder, and a backup is one file\n";
    story.run(["store", "restore", "data", "--data", "again"]).is(74, "", said);
}

#[test]
fn who_it_is_that_no_text_says_any_more_is_repaired() {
    let story = kept();
    fs::write(story.path("data/hub.json"), [0xff; 40]).unwrap();
    assert_eq!(verify(&story, "data").code(), 65);
    assert_eq!(story.run(["store", "repair", "--data", "data", "--accept-loss"]).code(), 0);
    assert_eq!(amounts(&verify(&story, "data")), ALL);
}

#[test]
fn a_store_that_is_whole_is_not_repaired() {
    let mut story = kept();
    let before = files(&story.path("data"));
    let whole = "repaired  nothing: the store is whole\n";
    story.run(["store", "repair", "--data", "data"]).is(0, whole, "");
    story.run(["store", "repair", "--data", "data", "--accept-loss"]).is(0, whole, "");
    assert_eq!(files(&story.path("data")), before);
    story.start_hub_in("data");
    assert_eq!(story.run(["store", "repair", "--data", "data", "--accept-loss"]).code(), 75);
}

/// What is kept of a store that was damaged so; the same is said before, and nothing done.
fn repaired(story: &Story, spoil: impl Fn(&Path)) -> ([String; 4], Vec<String>) {
    let data = story.path("spoilt");
    copy(&story.path("data"), &data);
    spoil(&data);
    let before = files(&data);
    let asked = story.run(["store", "repair", "--data", "spoilt"]);
    assert_eq!(asked.code(), 64, "{}", asked.stderr());
    assert!(asked.stderr().starts_with("convoke: nothing was repaired: "), "{}", asked.stderr());
    assert_eq!(files(&data), before);
    let done = story.run(["store", "repair", "--data", "spoilt", "--accept-loss"]);
    let lost = |ended: &Ended| -> Vec<String> {
        ended.stdout().lines().filter_map(|line| Some(line.strip_prefix("lost")?.trim().to_owned())).collect()
    };
    assert_eq!(lost(&asked), lost(&done));
    assert_eq!(told(&done, "damaged files"), "spoilt/damaged-1");
    let after = files(&data);
    // The lock says who has held it last.
    for (name, bytes) in before.into_iter().filter(|(name, _)| name != "lock") {
        let moved = after.get(&format!("damaged-1/{name}")).or_else(|| after.get(&name));
        assert_eq!(moved, Some(&bytes), "{name}");
    }
    assert!(!after.contains_key("unfinished") && !story.path("spoilt/repaired").exists());
    let seen = verify(story, "spoilt");
    assert_eq!(amounts(&seen), amounts(&done));
    assert_eq!(told(&seen, "history"), told(&done, "history"));
    assert_ne!(told(&seen, "history"), told(&verify(story, "data"), "history"));
    (amounts(&done), lost(&done))
}

#[test]
fn what_is_whole_of_a_damaged_store_is_kept() {
    let mut story = kept();
    let log = "log.00000000000000000001";
    let all = ALL.map(str::to_owned);
    let none: Vec<String> = Vec::new();
    // Which hub it is the log knows, and what was kept also.
    assert_eq!(repaired(&story, |data| fs::write(data.join("hub.json"), "no").unwrap()), (all.clone(), none.clone()));
    assert_eq!(repaired(&story, |data| fs::remove_file(data.join("store.redb")).unwrap()), (all.clone(), none));
    // Rows are in redb since it was stopped.
    let (kept, lost) = repaired(&story, |data| fs::remove_file(data.join(log)).unwrap());
    assert_eq!((kept, lost.len()), (all, 1), "{lost:?}");
    story.start_hub_in("spoilt");
    assert_eq!(story.run(["journal", "append", "plan", "6"]).stdout(), "6\n");
    assert_eq!(story.run(["set", "press/9", "1"]).code(), 0);
    story.run(["publish", "cam/1", "x", "--confirm", "--token-file", "cam.token"]).is(0, "0\n", "");
}

#[test]
fn a_damaged_page_takes_its_rows_and_nothing_else() {
    let mut story = Story::without_hub();
    story.start_hub_in("data");
    fill(&story, 40);
    stop(&mut story);
    // Without the log nobody knows what was on it.
    let without_log = |data: &Path| spoil(&data.join("log.00000000000000000001"), 100..200);
    let ([values, journals, entries, tokens], lost) = repaired(&story, |data| {
        without_log(data);
        let file = data.join("store.redb");
        let at = last(&file, b"25 xxxxxxxx");
        spoil(&file, at..at + 1);
    });
    assert_eq!([&*values, &*journals, &*tokens], ["3", "1", "1"], "{lost:?}");
    let entries: u64 = entries.parse().unwrap();
    assert!((10..25).contains(&entries), "{entries} entries; {lost:?}");
    let cut = format!("journal `plan`: entry {} is missing, and so none up to 40 counts", entries + 1);
    assert!(lost.contains(&cut), "{lost:?}");
    assert!(lost[0].starts_with("store.redb is damaged: redb says `"), "{lost:?}");
    assert!(lost[1].starts_with("the page at byte "), "{lost:?}");
    // It goes on from there.
    story.start_hub_in("spoilt");
    assert_eq!(story.run(["journal", "append", "plan", "new"]).stdout(), format!("{}\n", entries + 1));
    assert_eq!(story.run(["journal", "show", "plan"]).stdout().lines().count() as u64, entries + 1);
    assert_eq!(story.run(["journal", "undo", "plan"]).stdout(), format!("{}\n", entries + 2));
    // What was before is there, and stays.
    let refused = story.run(["journal", "undo", "plan"]);
    assert_eq!(refused.code(), 65);
    assert!(refused.stderr().starts_with("convoke: undo in `plan`: `ann` has nothing left to undo; --scope everyone "));
}

#[test]
fn a_log_that_breaks_is_kept_up_to_there() {
    let mut story = Story::without_hub();
    story.start_hub_in("data");
    fill(&story, 5);
    story.kill_hub();
    let (kept, lost) = repaired(&story, |data| {
        let file = data.join("log.00000000000000000001");
        let at = last(&file, b"3 xxxxxxxx");
        spoil(&file, at..at + 1);
        // All that there was is in the log still.
        fs::remove_file(data.join("store.redb")).unwrap();
    });
    assert_eq!(kept, ["3", "1", "2", "0"].map(str::to_owned), "{lost:?}");
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].contains("log.00000000000000000001 breaks at byte "), "{lost:?}");
}

#[test]
fn a_repair_that_is_killed_is_done_wholly_or_not_at_all() {
    let story = kept();
    let data = story.path("spoilt");
    for seen in
        ["repaired", "repaired/store.redb", "repaired/hub.json", "damaged-1", "unfinished", "damaged-1/store.redb"]
    {
        copy(&story.path("data"), &data);
        fs::write(data.join("hub.json"), "no").unwrap();
        let repair = story.start(["store", "repair", "--data", "spoilt", "--accept-loss"]);
        // Killed when it has come so far, or a little later; or when it is done.
        while !data.join(seen).exists() && !data.join("damaged-1/store.redb").exists() {
            std::thread::yield_now();
        }
        drop(repair);
        let hub = verify(&story, "spoilt");
        if hub.code() == 65 {
            let hub = story.run(["hub", "--data", "spoilt", "--listen", "127.0.0.1:0"]);
            assert_eq!(hub.code(), 65, "{seen}: {}", hub.stderr());
            assert_eq!(story.run(["store", "repair", "--data", "spoilt", "--accept-loss"]).code(), 0, "{seen}");
        }
        assert_eq!(amounts(&verify(&story, "spoilt")), ALL, "{seen}");
        assert!(!data.join("repaired").exists() && !data.join("unfinished").exists(), "{seen}");
    }
}

#[test]
fn a_restore_that_is_killed_is_done_again() {
    let story = kept();
    assert_eq!(story.run(["store", "backup", "b", "--data", "data"]).code(), 0);
    let again = story.path("again");
    for seen in ["lock", "unfinished", "log.meta", "store.redb.new", "store.redb", "hub.json"] {
        let _ = fs::remove_dir_all(&again);
        let restore = story.start(["store", "restore", "b", "--data", "again"]);
        while !again.join(seen).exists() && !again.join("hub.json").exists() {
            std::thread::yield_now();
        }
        drop(restore);
        if again.join("unfinished").exists() {
            let hub = story.run(["hub", "--data", "again", "--listen", "127.0.0.1:0"]);
            let said = "convoke: data folder `again`: `convoke store restore` did not come to its end here; run it again; \
                        `convoke store verify` looks through all of it\n";
            hub.is(65, "", said);
        }
        if verify(&story, "again").code() != 0 {
            assert_eq!(story.run(["store", "restore", "b", "--data", "again"]).code(), 0, "{seen}");
        }
        assert_eq!(amounts(&verify(&story, "again")), ALL, "{seen}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_can_be_read_only_once_is_not_restored() {
    let story = kept();
    assert_eq!(story.run(["store", "backup", "b", "--data", "data"]).code(), 0);
    let plain = story.convoke(["store", "restore", "/dev/stdin", "--data", "again"]);
    let mut piped = std::process::Command::new("sh");
    piped.args(["-c", "cat b | \"$@\"", "sh"]).arg(plain.get_program()).args(plain.get_args());
    piped.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    piped.current_dir(story.path("")).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let told = "convoke: opening backup `/dev/stdin`: it is read twice, and this can be read only once; put it into a file \
                first\n";
    story.start_command(piped).ended().is(74, "", told);
    assert!(!story.path("again").exists());
}

#[test]
fn where_a_restore_was_killed_before_its_first_file_no_hub_begins_anew() {
    let story = kept();
    assert_eq!(story.run(["store", "backup", "b", "--data", "data"]).code(), 0);
    fs::create_dir(story.path("again")).unwrap();
    // The mark that it has begun, as long as it is written.
    story.file("again/unfinished.4711", b"");
    let hub = story.run(["hub", "--data", "again", "--listen", "127.0.0.1:0"]);
    assert_eq!(hub.code(), 65, "{}", hub.stderr());
    assert!(hub.stderr().contains("`convoke store restore` did not come to its end here"), "{}", hub.stderr());
    assert_eq!(story.run(["store", "restore", "b", "--data", "again"]).code(), 0);
    assert_eq!(amounts(&verify(&story, "again")), ALL);
}

#[test]
fn a_backup_that_is_killed_is_not_there() {
    let story = kept();
    let names = || fs::read_dir(story.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_begun = || names().any(|name| name.starts_with("b."));
    for _ in 0..3 {
        let backup = story.start(["store", "backup", "b", "--data", "data"]);
        while !is_begun() && !story.path("b").exists() {
            std::thread::yield_now();
        }
        drop(backup);
        if story.path("b").exists() {
            assert_eq!(amounts(&story.run(["store", "verify", "b"])), ALL);
            fs::remove_file(story.path("b")).unwrap();
        }
    }
    assert_eq!(story.run(["store", "backup", "b", "--data", "data"]).code(), 0);
    // What one has left that was killed went with the next.
    assert!(!files(&story.path("")).keys().any(|name| name.starts_with("b.")));
}

#[test]
fn of_two_backups_of_one_name_one_is_made_and_of_two_names_both() {
    let story = kept();
    for round in 0..4 {
        let (one, names) = (format!("{round}"), [format!("{round}-a"), format!("{round}-b")]);
        let codes = |names: [&str; 2]| {
            let started = names.map(|name| story.start(["store", "backup", name, "--data", "data"]));
            let mut codes = started.map(|backup| backup.ended().code());
            codes.sort_unstable();
            codes
        };
        assert!(matches!(codes([&one, &one]), [0, 73 | 75]), "round {round}");
        assert_eq!(codes([&names[0], &names[1]]), [0, 0], "round {round}");
    }
}

#[cfg(unix)]
#[test]
fn a_backup_is_not_written_where_a_link_leads() {
    let story = kept();
    let other = story.file("other", b"mine");
    std::os::unix::fs::symlink(&other, story.path("b.unfinished")).unwrap();
    story.run(["store", "backup", "b", "--data", "data"]).is(
        73,
        "",
        "convoke: writing backup `b`: `b.unfinished` is in the way, which no backup has left; move it away, or give \
         another name\n",
    );
    assert_eq!(fs::read(&other).unwrap(), b"mine");
}

#[test]
fn a_store_is_made_smaller_and_says_by_how_much() {
    let mut story = Story::without_hub();
    story.start_hub_in("data");
    let long = story.file("long", &vec![b'x'; 200_000]);
    for n in 0..20 {
        assert_eq!(story.run(["set", &format!("long/{n}"), "--raw", &long]).code(), 0);
    }
    stop(&mut story);
    let number = |ended: &Ended, what| told(ended, what).parse::<u64>().unwrap();
    let ended = story.run(["store", "compact", "--data", "data"]);
    assert!(number(&ended, "after") <= number(&ended, "before"), "{}", ended.stdout());
    assert_eq!(told(&verify(&story, "data"), "values"), "20");
    story.start_hub_in("data");
    let id = story.hub().id();
    let said = format!("convoke: data folder `data`: a hub is running on it (process {id}); stop it first; ");
    let ended = story.run(["store", "compact", "--data", "data"]);
    assert_eq!(ended.code(), 75);
    assert!(ended.stderr().starts_with(&said), "{}", ended.stderr());
}
