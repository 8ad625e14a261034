//! `convoke chat`.

use std::process::Stdio;

use rustix::process::Signal;

use crate::story::{Running, Story};
use crate::terminal::Terminal;

/// What was said, without who came and went.
fn said(printed: &str) -> String {
    let lines = printed.split_inclusive('\n');
    lines.filter(|line| !(line.starts_with("* ") && line.ends_with(" joins\n") | line.ends_with(" leaves\n"))).collect()
}

#[test]
fn all_see_the_same_lines_in_the_same_order() {
    let story = Story::with_hub();
    let people: Vec<_> = ["ann", "bob", "cai"].map(|name| story.chat(name, [])).into();
    for round in 0..20 {
        for (person, name) in people.iter().zip(["ann", "bob", "cai"]) {
            person.types(&format!("{name} counts: {round}"));
        }
    }
    for person in &people {
        for name in ["ann", "bob", "cai"] {
            person.prints(&format!("{name} counts: 19"));
        }
    }
    let printed: Vec<String> = people.into_iter().map(|person| said(&person.ended().stdout())).collect();
    assert_eq!(printed[0].lines().count(), 60);
    assert_eq!((&printed[1], &printed[2]), (&printed[0], &printed[0]));
    for name in ["ann", "bob", "cai"] {
        let said = printed[0].lines().filter_map(|line| line.strip_prefix(&format!("{name}: {name} counts: ")));
        assert!(said.eq((0..20).map(|round| round.to_string())), "{}", printed[0]);
    }
}

#[test]
fn what_one_has_said_can_be_taken_back_and_said_again() {
    let story = Story::with_hub();
    let (ann, bob) = (story.chat("ann", []), story.chat("bob", []));
    ann.types("hello").prints("ann: hello");
    bob.types("good morning").prints("bob: good morning");
    ann.types("/undo").types("/undo").types("/redo").types("/me waves").types("/undo").types("/undo");
    ann.says("`ann` has nothing left to undo").prints("* ann takes back: waves").prints("* ann takes back: hello");
    let all = "ann: hello\nbob: good morning\n* ann takes back: hello\n* ann says again: hello\n* ann waves\n\
                * ann takes back: waves\n* ann takes back: hello\n";
    bob.prints("* ann takes back: waves").prints("* ann takes back: hello");
    let (ann, bob) = (ann.ended(), bob.ended());
    assert_eq!(ann.stderr(), "convoke: undo in `chat/lobby`: `ann` has nothing left to undo\n");
    assert_eq!((said(&ann.stdout()).as_str(), said(&bob.stdout()).as_str(), bob.stderr()), (all, all, String::new()));
    story.run(["chat", "--name", "cai"]).is(0, "bob: good morning\n", "");
}

#[test]
fn another_program_may_take_anything_back_and_say_anything() {
    let story = Story::with_hub();
    let ann = story.chat("ann", []);
    ann.types("hello").prints("ann: hello");
    story.run(["journal", "undo", "chat/lobby", "--scope", "everyone", "--author", "bob"]).is(0, "3\n", "");
    story.run(["journal", "redo", "chat/lobby", "--author", "bob"]).is(0, "4\n", "");
    story.run(["journal", "append", "chat/lobby", "the press is open", "--author", "press-1"]).is(0, "5\n", "");
    // What is no line is not shown, and hinders nobody.
    story.run(["journal", "append", "chat/lobby", "{\"force\": 12}"]).is(0, "6\n", "");
    let picture = story.file("picture", &[0xff; 100]);
    story.run(["journal", "append", "chat/lobby", "--raw", &picture]).is(0, "7\n", "");
    story
        .run(["journal", "append", "chat/lobby", "{\"says\": \"a\\nb\\u001b[2J\"}", "--author", "eve"])
        .is(0, "8\n", "");
    ann.prints("eve: ");
    ann.ended().is(
        0,
        "ann: hello\n* bob takes back, of ann: hello\n* bob says again, of ann: hello\npress-1: the press is open\n\
         eve: a\\nb\\u001b[2J\n",
        "",
    );
}

#[test]
fn who_comes_late_sees_what_was_said() {
    let story = Story::with_hub();
    let said: String = (1..=120).map(|number| format!("{number}\n")).collect();
    assert_eq!(story.run_with_input(said.as_bytes(), ["chat", "--name", "ann"]).code(), 0);
    let lines =
        |numbers: std::ops::RangeInclusive<u32>| numbers.map(|number| format!("ann: {number}\n")).collect::<String>();
    story.run(["chat"]).is(0, &lines(21..=120), "");
    story.run(["chat", "--history", "2"]).is(0, &lines(119..=120), "");
    story.run(["chat", "--history", "0"]).is(0, "", "");
    story.run(["chat", "--history", "all"]).is(0, &lines(1..=120), "");
    story.run(["chat", "--history", "all", "--room", "kitchen"]).is(0, "", "");
}

#[test]
fn a_room_is_left_for_another() {
    let story = Story::with_hub();
    let (ann, bob) = (story.chat("ann", []), story.chat("bob", ["--room", "convoke:kitchen"]));
    bob.types("soup").prints("bob: soup").types("/rooms").prints("rooms: kitchen, lobby");
    ann.types("hungry").types("/join kitchen").types("is there any left?");
    bob.prints("ann: is there any left?");
    bob.types("/join kitchen").types("/join lobby").prints("ann: hungry");
    let (ann, bob) = (ann.ended(), bob.ended());
    assert_eq!(said(&ann.stdout()), "ann: hungry\nbob: soup\nann: is there any left?\n");
    assert_eq!(said(&bob.stdout()), "bob: soup\nrooms: kitchen, lobby\nann: is there any left?\nann: hungry\n");
    let notes = (ann.stderr(), bob.stderr());
    assert_eq!(notes, ("convoke: you are in kitchen now\n".to_owned(), "convoke: you are in lobby now\n".to_owned()));
}

#[test]
fn who_comes_and_goes_is_told_in_order_with_the_lines() {
    let story = Story::with_hub();
    let ann = story.chat("ann", []);
    let bob = story.chat("bob", []);
    ann.prints("* bob joins").types("hello").prints("ann: hello").types("/who").prints("here: ann, bob");
    bob.prints("ann: hello").types("bye").prints("bob: bye");
    assert_eq!(bob.ended().stdout(), "ann: hello\nbob: bye\n", "what was before, and oneself, is no news");
    ann.prints("* bob leaves");
    let cai = story.chat("cai", ["--room", "kitchen"]);
    ann.types("/rooms").prints("rooms: kitchen, lobby").types("/who").prints("here: ann\n");
    ann.types("/join kitchen").says("you are in kitchen now").types("/who").prints("here: ann, cai");
    cai.prints("* ann joins");
    let printed = ann.ended().stdout();
    assert_eq!(
        printed,
        "* bob joins\nann: hello\nhere: ann, bob\nbob: bye\n* bob leaves\nrooms: kitchen, lobby\nhere: ann\n\
         here: ann, cai\n"
    );
    cai.prints("* ann leaves");
    let shown = story.run(["journal", "show", "chat/lobby"]).stdout();
    let expected =
        "1 ann joins\n2 bob joins\n3 ann {\"says\":\"hello\"}\n4 bob {\"says\":\"bye\"}\n5 bob leaves\n6 ann leaves\n";
    assert_eq!(shown, expected);
}

#[test]
fn they_go_on_when_the_hub_is_started_again() {
    let mut story = Story::with_hub();
    let (ann, bob) = (story.chat("ann", []), story.chat("bob", []));
    ann.types("before").prints("ann: before");
    bob.prints("ann: before");
    let address = story.address().to_owned();
    story.kill_hub();
    ann.says("convoke: connection lost, trying again");
    bob.says("convoke: connection lost, trying again");
    ann.types("meanwhile").types("/undo").types("/me waits");
    bob.types("me too");
    story.start_hub(&address);
    ann.says("convoke: back").prints("bob: me too").prints("* ann waits");
    bob.says("convoke: back").prints("bob: me too").prints("* ann waits");
    let (ann, bob) = (ann.ended(), bob.ended());
    assert_eq!((ann.code(), ann.stderr()), (0, "convoke: connection lost, trying again\nconvoke: back\n".to_owned()));
    assert_eq!(said(&ann.stdout()), said(&bob.stdout()));
    let said = said(&bob.stdout());
    let own: Vec<&str> = said.lines().filter(|line| line.contains("ann")).collect();
    assert_eq!(own, ["ann: before", "ann: meanwhile", "* ann takes back: meanwhile", "* ann waits"]);
}

#[test]
fn programs_read_it_as_json() {
    let story = Story::with_hub();
    let ended = story.run_with_input(b"hello\n/me waves\n/undo\n/who\n/rooms\n", ["chat", "--name", "ann", "--json"]);
    assert_eq!((ended.code(), ended.stderr()), (0, String::new()));
    let stdout = ended.stdout();
    let entries: Vec<&str> = stdout.lines().filter(|line| line.contains("\"seq\"")).collect();
    assert_eq!(
        entries,
        [
            r#"{"room":"lobby","seq":2,"author":"ann","kind":"says","text":"hello"}"#,
            r#"{"room":"lobby","seq":3,"author":"ann","kind":"does","text":"waves"}"#,
            r#"{"room":"lobby","seq":4,"author":"ann","kind":"undo","text":"waves"}"#,
        ]
    );
    assert!(stdout.contains("{\"rooms\":[\"lobby\"]}\n"), "{stdout}");
    assert!(stdout.contains("{\"here\":[\"ann\"]}\n"), "{stdout}");
}

#[test]
fn what_cannot_be_done_is_told() {
    let story = Story::with_hub();
    let typed =
        "/foo\n/me\n/join\n/join a/+\n/undo it\n\n  \n//etc\n".to_owned() + &"x".repeat(5000) + "\n/quit\nnever said\n";
    story.run_with_input(typed.as_bytes(), ["chat", "--name", "ann"]).is(
        65,
        "ann: /etc\n",
        "convoke: there is no `/foo`; `/help` says what there is\n\
         convoke: say what you do, as in `/me waves`\n\
         convoke: say which room, as in `/join kitchen`\n\
         convoke: `a/+` has a `+`, which only a pattern may have: a name stands for one thing\n\
         convoke: `/undo` stands alone\n\
         convoke: a line of 5000 bytes is too long, the limit is 4096\n",
    );
    story.run_with_input(b"/foo\n", ["chat", "--json", "--history", "0"]).is(
        65,
        "",
        "{\"error\":{\"kind\":\"BadLine\",\"message\":\"there is no `/foo`; `/help` says what there is\"}}\n",
    );
    let help = story.run_with_input(b"/help\n", ["chat"]).stderr();
    assert!(help.contains("/undo ") && help.contains("/join ROOM "), "{help}");
    story.run(["chat", "--room", "#"]).is(
        64,
        "",
        "convoke: `#` has a `#`, which only a pattern may have: a name stands for one thing\n",
    );
    assert_eq!(story.run(["chat", "--history", "some"]).code(), 64);
    let endless = story.run_with_input(&[b'x'; 70 << 10], ["chat", "--history", "0"]);
    assert_eq!((endless.code(), endless.stdout()), (74, String::new()), "{}", endless.stderr());
    Story::without_hub().run(["chat", "--timeout", "5s"]).is(
        69,
        "",
        "convoke: no hub answers at HUB; start one with `convoke hub`\n",
    );
}

#[test]
fn who_asks_for_the_rooms_while_the_hub_is_away_is_told_when_it_is_back() {
    let mut story = Story::with_hub();
    let (ann, bob) = (story.chat("ann", []), story.chat("bob", ["--timeout", "1s"]));
    ann.prints("* bob joins");
    let address = story.address().to_owned();
    story.kill_hub();
    ann.says("connection lost");
    bob.says("connection lost");
    ann.types("/rooms").types("/who").prints("here: ann, bob");
    bob.types("/rooms");
    let bob = bob.ended();
    assert_eq!((bob.code(), said(&bob.stdout())), (69, String::new()), "{}", bob.stderr());
    story.start_hub(&address);
    ann.prints("rooms: lobby");
}

#[test]
fn what_a_program_says_is_said_whether_or_not_anybody_reads_what_is_printed() {
    let story = Story::with_hub();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut ann = story.convoke(["chat", "--name", "ann"]);
    ann.stdin(Stdio::piped()).stdout(writer);
    let ann = story.start_command(ann);
    for number in 0..PASTED_LINES {
        ann.types(&number.to_string());
    }
    ann.ended().is(0, "", "");
    let all: String = (0..PASTED_LINES).map(|number| format!("ann: {number}\n")).collect();
    story.run(["chat", "--name", "bob", "--history", "all"]).is(0, &all, "");
}

#[test]
fn what_is_still_unsaid_when_stdin_ends_is_waited_for_and_told() {
    let mut story = Story::with_hub();
    let ann = story.chat("ann", ["--timeout", "1s"]);
    story.kill_hub();
    ann.says("connection lost");
    ann.types("hello?");
    let ended = ann.ended();
    assert_eq!((ended.code(), ended.stdout()), (69, String::new()));
    assert!(
        ended
            .stderr()
            .ends_with("convoke: not all that was typed is said: no answer within 1 s; it may be said all the same\n"),
        "{}",
        ended.stderr()
    );
}

#[test]
fn who_may_only_listen_is_told_so() {
    let story = Story::with_hub();
    for (name, rules) in [("cam", &["follow chat/#"][..]), ("dan", &["execute chat/#", "follow chat/lobby"])] {
        let mut arguments = vec!["token", "create", name];
        arguments.extend(rules.iter().flat_map(|rule| ["--allow", rule]));
        let made = story.run(arguments);
        assert_eq!(made.code(), 0, "{}", made.stderr());
    }
    story.run_with_input(b"hello\n", ["chat", "--name", "ann"]).is(0, "ann: hello\n", "");
    let cam = story.run_with_input(b"may I?\n", ["chat", "--name", "cam", "--token-file", "cam.token"]);
    assert_eq!((cam.code(), cam.stdout()), (77, "ann: hello\n".to_owned()), "scripts see that it was not said");
    let json = story.run_with_input(b"may I?\n", ["chat", "--token-file", "cam.token", "--json"]).stderr();
    assert!(json.starts_with("{\"error\":{\"kind\":\"Forbidden\",\"message\":\""), "{json}");
    assert!(cam.stderr().starts_with("convoke: ") && cam.stderr().contains("`chat/lobby`"), "{}", cam.stderr());
    let dan =
        story.run_with_input(b"hi\n/undo\n/join kitchen\n", ["chat", "--name", "dan", "--token-file", "dan.token"]);
    assert_eq!((dan.code(), dan.stdout()), (77, "ann: hello\ndan: hi\n".to_owned()));
    assert_eq!(dan.stderr().lines().count(), 2, "{}", dan.stderr());
    assert_eq!(story.run(["chat", "--room", "kitchen", "--token-file", "dan.token"]).code(), 77);
}

/// `ann` at a terminal of 80 columns and 24 rows, once she is in the lobby.
fn ann_at_a_terminal(story: &Story) -> (Terminal, Running) {
    let mut terminal = Terminal::new();
    let mut ann = story.convoke(["chat", "--name", "ann"]);
    terminal.resize(80, 24);
    ann.env("TERM", "xterm-256color").stdin(terminal.end()).stdout(terminal.end()).stderr(terminal.end());
    let ann = story.start_command(ann);
    terminal.shows("/help says what can be done");
    (terminal, ann)
}

#[test]
fn on_a_terminal_it_has_a_screen_and_leaves_it_as_it_was() {
    let mut story = Story::with_hub();
    let bob = story.chat("bob", []);
    let (mut terminal, ann) = ann_at_a_terminal(&story);
    terminal.types("hello\r");
    bob.prints("ann: hello");
    bob.types("a\u{1b}[2Jb");
    let mut seen = terminal.shows("[2Jb");
    assert!(seen.contains(r"a\u001b[2Jb"), "{seen:?}");
    let address = story.address().to_owned();
    story.kill_hub();
    terminal.shows("connection lost, trying again");
    story.start_hub(&address);
    terminal.shows("back");
    bob.types("again");
    terminal.shows("again");
    // The line that is said is at its end, and all else elsewhere, when there are but four rows.
    terminal.resize(80, 4);
    ann.signal(Signal::WINCH);
    terminal.shows("\u{1b}[3;1H");
    terminal.types("/undo\r");
    bob.prints("* ann takes back: hello");
    // Ctrl-C.
    terminal.types("\u{3}");
    assert_eq!(ann.ended().code(), 130);
    seen = terminal.shown();
    assert!(seen.contains("\u{1b}[?1049l"), "the other screen is shown again: {seen:?}");
}

/// `ann` at a terminal, in a room in which `bob` is too, while the hub is away.
fn ann_at_a_terminal_without_a_hub(story: &mut Story) -> (Terminal, Running, Running, String) {
    let bob = story.chat("bob", []);
    let (mut terminal, ann) = ann_at_a_terminal(story);
    let address = story.address().to_owned();
    story.kill_hub();
    terminal.shows("connection lost, trying again");
    (terminal, ann, bob, address)
}

/// More than may wait to be said. A terminal that does not know pastes gives them key by key.
const PASTED_LINES: u32 = 200;

/// A paste came as lines, of which those beyond the 64 that may wait were left in the line that is typed, one over the
/// other.
#[test]
fn of_a_long_paste_nothing_is_lost_while_the_hub_is_away() {
    let mut story = Story::with_hub();
    let (mut terminal, ann, bob, address) = ann_at_a_terminal_without_a_hub(&mut story);
    let pasted: String = (0..PASTED_LINES).map(|number| format!("{number}\r")).collect();
    terminal.types(&(pasted + "ZZZZ\r"));
    story.start_hub(&address);
    terminal.shows("ZZZZ");
    bob.prints("ann: ZZZZ");
    terminal.types("/quit\r");
    assert_eq!(ann.ended().code(), 0);
    let printed = bob.ended().stdout();
    let own: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("ann: ")).collect();
    let all: Vec<String> = (0..PASTED_LINES).map(|number| number.to_string()).chain(["ZZZZ".to_owned()]).collect();
    assert_eq!(own, all);
}

#[test]
fn ctrl_c_is_heard_behind_a_long_paste() {
    let mut story = Story::with_hub();
    let (mut terminal, ann, _bob, _) = ann_at_a_terminal_without_a_hub(&mut story);
    terminal.types(&"line\r".repeat(PASTED_LINES as usize));
    terminal.types("\u{3}");
    assert_eq!(ann.ended().code(), 130);
}

#[test]
fn of_a_long_file_all_is_said() {
    let mut story = Story::with_hub();
    let bob = story.chat("bob", []);
    let ann = story.chat("ann", []);
    let address = story.address().to_owned();
    story.kill_hub();
    ann.says("connection lost");
    for number in 0..PASTED_LINES {
        ann.types(&number.to_string());
    }
    story.start_hub(&address);
    assert_eq!(ann.ended().code(), 0);
    bob.prints(&format!("ann: {}", PASTED_LINES - 1));
    let printed = bob.ended().stdout();
    let own = printed.lines().filter_map(|line| line.strip_prefix("ann: ")).map(str::to_owned);
    assert!(own.eq((0..PASTED_LINES).map(|number| number.to_string())), "{printed}");
}

#[test]
fn what_was_typed_before_a_line_without_an_end_is_said() {
    let said: String = (0..20).map(|number| format!("{number}\n")).collect();
    Story::with_hub().run_with_input(&[said.as_bytes(), &[b'x'; 70 << 10]].concat(), ["chat", "--name", "ann"]).is(
        74,
        &said.lines().map(|line| format!("ann: {line}\n")).collect::<String>(),
        "convoke: cannot read standard input: a line is longer than 65536 bytes\n",
    );
}
