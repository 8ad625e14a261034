//! What is seen on a terminal of any size, drawn into memory.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;

fn room(lines: &[(&str, &str)]) -> Room {
    let lines = lines.iter().zip(1..).map(|((author, text), seq)| Line {
        seq,
        first: seq,
        author: (*author).to_owned(),
        kind: if text.starts_with("waves") { Kind::Does } else { Kind::Says },
        text: (*text).to_owned(),
    });
    Room { lines: lines.collect(), ..Room::default() }
}

/// A room in which `ann` has counted.
fn counted(count: u32) -> Room {
    let texts: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
    room(&texts.iter().map(|text| ("ann", text.as_str())).collect::<Vec<_>>())
}

/// The rows of the screen, without the spaces at their ends.
fn seen(view: &mut View, room: &Room, (columns, rows): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("it is in memory");
    terminal.draw(|frame| view.draw(frame, room)).expect("it is in memory");
    let cells = terminal.backend().buffer();
    let row = |y| {
        let mut row = String::new();
        while row_width(&row) < columns {
            row.push_str(cells[(row_width(&row), y)].symbol());
        }
        row.trim_end().to_owned()
    };
    (0..rows).map(row).collect()
}

/// How wide it is; wide characters take two columns.
fn row_width(row: &str) -> u16 {
    u16::try_from(Span::raw(row).width()).expect("a row is short")
}

/// Where the cursor is.
fn cursor(view: &mut View, (columns, rows): (u16, u16)) -> (u16, u16) {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("it is in memory");
    terminal.draw(|frame| view.draw(frame, &Room::default())).expect("it is in memory");
    let position = terminal.get_cursor_position().expect("it is in memory");
    (position.x, position.y)
}

fn press(view: &mut View, code: KeyCode) -> Taken {
    view.take(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn control(view: &mut View, letter: char) -> Taken {
    view.take(&Event::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL)))
}

fn type_in(view: &mut View, text: &str) {
    for letter in text.chars() {
        assert_eq!(press(view, KeyCode::Char(letter)), Taken::Nothing);
    }
}

#[test]
fn a_room_has_its_lines_its_people_and_a_place_to_type() {
    let mut view = View::new("lobby", 0);
    view.enter("kitchen", 0);
    let room = room(&[("ann", "hello"), ("bob", "waves to ann")]);
    type_in(&mut view, "hi");
    view.note(2, "there is no `/x`");
    let happened = |seq, author: &str, what| Happened { seq, author: author.to_owned(), what };
    view.here = BTreeSet::from(["ann".to_owned(), "cai".to_owned()]);
    view.tell(happened(3, "bob", What::Leaves));
    assert_eq!(
        seen(&mut view, &room, (72, 7)),
        [
            "rooms          │kitchen                                 │here",
            "kitchen        │ann: hello                              │ann",
            "lobby          │* bob waves to ann                      │cai",
            "               │- there is no `/x`                      │",
            "               │* bob leaves                            │",
            "/help says what can be done",
            "> hi",
        ]
    );
    assert_eq!(seen(&mut view, &room, (71, 7))[0], "kitchen", "a narrow terminal has the lines alone");
}

#[test]
fn it_fits_a_terminal_of_any_size() {
    let mut view = View::new("lobby", 0);
    let room = room(&[("ann", "one two three"), ("ann", "日本語の文字"), ("ann", "")]);
    type_in(&mut view, "hello");
    for columns in 1..=80 {
        for rows in 1..=12 {
            let seen = seen(&mut view, &room, (columns, rows));
            assert!(columns < 4 || seen.last().is_some_and(|row| row.starts_with("> ")), "{seen:?}");
            press(&mut view, KeyCode::PageUp);
        }
    }
    press(&mut view, KeyCode::Enter);
    for columns in [12, 13] {
        assert_eq!(
            seen(&mut view, &room, (columns, 8))[..6],
            ["lobby", "ann: one two", "three", "ann:", "日本語の文字", "ann:"],
            "the space at a break is not seen"
        );
    }
    assert_eq!(
        seen(&mut view, &room, (9, 9))[..7],
        ["lobby", "ann: one", "two three", "ann:", "日本語の", "文字", "ann:"]
    );
}

#[test]
fn nothing_that_anybody_says_acts_on_the_terminal() {
    let mut view = View::new("lob\u{1b}by", 0);
    let room = room(&[("a\u{7}n", "\u{1b}[2J\u{202e}evil\nnew line")]);
    view.note(1, "\u{9b}2J");
    let seen = seen(&mut view, &room, (80, 6));
    assert!(seen[1].contains(r"a\u0007n: \u001b[2J\u202eevil\nnew line"), "{seen:?}");
    assert!(seen[2].contains(r"- \u009b2J") && seen[0].contains(r"lob\u001bby"), "{seen:?}");
}

#[test]
fn who_scrolls_back_sees_what_was_said_before() {
    let mut view = View::new("lobby", 0);
    let room = counted(100);
    let size = (20, 6);
    assert_eq!(seen(&mut view, &room, size)[1..4], ["ann: 98", "ann: 99", "ann: 100"]);
    press(&mut view, KeyCode::PageUp);
    assert_eq!(seen(&mut view, &room, size)[1..5], ["ann: 96", "ann: 97", "ann: 98", "2 more below: PgDn"]);
    press(&mut view, KeyCode::Up);
    assert_eq!(seen(&mut view, &room, size)[1], "ann: 95");
    // What is said meanwhile does not move it.
    assert_eq!(seen(&mut view, &counted(103), size)[1..5], ["ann: 95", "ann: 96", "ann: 97", "6 more below: PgDn"]);
    view.tell(Happened { seq: 103, author: "bob".to_owned(), what: What::Joins });
    assert_eq!(seen(&mut view, &counted(103), size)[1..5], ["ann: 95", "ann: 96", "ann: 97", "7 more below: PgDn"]);
    assert_eq!(seen(&mut view, &counted(103), size)[4], "7 more below: PgDn", "once");
    assert_eq!(seen(&mut view, &counted(103), (20, 8))[1..4], ["ann: 93", "ann: 94", "ann: 95"], "a larger terminal");
    for _ in 0..100 {
        press(&mut view, KeyCode::PageUp);
    }
    assert_eq!(seen(&mut view, &counted(103), size)[1..4], ["ann: 1", "ann: 2", "ann: 3"], "and no further");
    press(&mut view, KeyCode::PageDown);
    press(&mut view, KeyCode::Down);
    assert_eq!(seen(&mut view, &counted(103), size)[1], "ann: 4");
    press(&mut view, KeyCode::Enter);
    assert_eq!(
        seen(&mut view, &counted(103), size)[2..4],
        ["ann: 103", "* bob joins"],
        "who says something is at the end again"
    );
}

#[test]
fn only_so_much_of_what_was_before_is_shown() {
    let mut view = View::new("lobby", 9);
    assert_eq!(seen(&mut view, &counted(10), (20, 6))[..4], ["lobby", "ann: 9", "ann: 10", ""]);
}

#[test]
fn what_is_taken_back_is_gone() {
    let mut view = View::new("lobby", 0);
    let mut room = counted(3);
    assert_eq!(seen(&mut view, &room, (20, 6))[1..4], ["ann: 1", "ann: 2", "ann: 3"]);
    room.lines.remove(1);
    assert_eq!(seen(&mut view, &room, (20, 6))[1..4], ["ann: 1", "ann: 3", ""]);
}

#[test]
fn a_lost_link_is_seen_and_what_is_typed_stays() {
    let mut view = View::new("lobby", 0);
    type_in(&mut view, "hello");
    view.is_linked = false;
    assert_eq!(seen(&mut view, &counted(1), (29, 4))[2..], ["connection lost, trying again", "> hello"]);
}

#[test]
fn what_is_typed_can_be_edited() {
    let mut view = View::new("lobby", 0);
    type_in(&mut view, "hllo worl日d");
    assert_eq!(cursor(&mut view, (40, 4)), (14, 3));
    press(&mut view, KeyCode::Left);
    press(&mut view, KeyCode::Backspace);
    press(&mut view, KeyCode::Home);
    press(&mut view, KeyCode::Right);
    type_in(&mut view, "e");
    assert_eq!(cursor(&mut view, (40, 4)), (4, 3));
    press(&mut view, KeyCode::End);
    view.take(&Event::Paste("!\n?".to_owned()));
    assert_eq!(press(&mut view, KeyCode::Enter), Taken::Line("hello world! ?".to_owned()));
    type_in(&mut view, "one two");
    control(&mut view, 'w');
    control(&mut view, 'a');
    control(&mut view, 'd');
    control(&mut view, 'e');
    assert_eq!(seen(&mut view, &Room::default(), (40, 4))[3], "> ne");
    control(&mut view, 'u');
    press(&mut view, KeyCode::Delete);
    assert_eq!(control(&mut view, 'x'), Taken::Nothing);
    let alt = KeyEvent::new(KeyCode::Char('x'), KeyModifiers::ALT);
    assert_eq!(view.take(&Event::Key(alt)), Taken::Nothing);
    assert!(view.input.is_empty(), "with Ctrl or Alt nothing is typed");
    assert_eq!(control(&mut view, 'd'), Taken::Line("/quit".to_owned()), "the end of what is typed");
    assert_eq!(control(&mut view, 'c'), Taken::CtrlC);
    let release = KeyEvent { kind: KeyEventKind::Release, ..KeyEvent::new(KeyCode::Char('x'), KeyModifiers::NONE) };
    assert_eq!(view.take(&Event::Key(release)), Taken::Nothing);
    assert!(view.input.is_empty(), "a key that is let go types nothing");
}

#[test]
fn a_paste_that_is_too_long_is_said_to_be_so() {
    let mut view = View::new("lobby", 0);
    type_in(&mut view, "before");
    assert_eq!(view.take(&Event::Paste("x".repeat(1_000_000))), Taken::TooLong);
    assert_eq!(press(&mut view, KeyCode::Enter), Taken::Line("before".to_owned()), "what was typed is still there");
}
