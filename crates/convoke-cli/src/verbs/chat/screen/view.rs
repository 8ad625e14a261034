//! What the screen looks like: the rooms, the lines, who is here, and the line that is typed.

use std::collections::{BTreeSet, VecDeque};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::input::Input;
use crate::render;
use crate::screen::{On, has_colours};
use crate::verbs::chat::news::{Happened, What};
use crate::verbs::chat::room::{Kind, Line, Room};

/// How wide the columns beside the lines are.
const BESIDE_COLUMNS: u16 = 16;

/// How wide a terminal must be to have them, so that lines keep as much as a narrow one has.
const WIDE_COLUMNS: u16 = 72;

/// How many of the notes to who sits here are remembered: some `/help` and `/who`.
const NOTES_MAX: usize = 200;

/// What came of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Nothing,
    Line(String),
    CtrlC,
    /// There is no room for what was pasted, and nothing of it was taken.
    TooLong,
}

pub(super) struct View {
    room: String,
    pub(super) rooms: BTreeSet<String>,
    pub(super) here: BTreeSet<String>,
    pub(super) input: Input,
    pub(super) is_linked: bool,
    /// What is typed waits, since there is much before it.
    pub(super) is_behind: bool,
    /// What only who sits here is told, each behind the entry at this place.
    notes: VecDeque<(u64, String)>,
    /// The first line that is shown.
    first: u64,
    /// How many rows are below what is seen.
    below: usize,
    /// The last line that was drawn.
    newest: u64,
    /// How many of the notes were not drawn yet.
    new_notes: usize,
    /// How many rows of lines were seen.
    height: usize,
}

impl View {
    /// Shows a room, from this line on.
    pub(super) fn new(room: &str, first: u64) -> View {
        View {
            room: room.to_owned(),
            rooms: BTreeSet::from([room.to_owned()]),
            here: BTreeSet::new(),
            input: Input::default(),
            is_linked: true,
            is_behind: false,
            notes: VecDeque::new(),
            first,
            below: 0,
            newest: 0,
            new_notes: 0,
            height: 0,
        }
    }

    /// Shows another one.
    pub(super) fn enter(&mut self, room: &str, first: u64) {
        let before = std::mem::replace(self, View::new(room, first));
        self.rooms.extend(before.rooms);
        (self.input, self.is_linked) = (before.input, before.is_linked);
    }

    /// Shows who comes and goes. The lines are shown as they are in the room.
    pub(super) fn tell(&mut self, happened: Happened) {
        let Happened { seq, author, what } = happened;
        match what {
            What::Joins => self.remember(seq, format!("* {author} joins")),
            What::Leaves => self.remember(seq, format!("* {author} leaves")),
            _ => {}
        }
    }

    /// Shows something behind the entry at this place, to who sits here and nobody else.
    pub(super) fn note(&mut self, seq: u64, text: impl Into<String>) {
        self.remember(seq, format!("- {}", text.into()));
        self.below = 0;
    }

    fn remember(&mut self, seq: u64, text: String) {
        self.notes.push_back((seq, text));
        self.new_notes += 1;
        if self.notes.len() > NOTES_MAX {
            self.notes.pop_front();
        }
    }

    /// Takes a key, or a paste.
    pub(super) fn take(&mut self, event: &Event) -> Taken {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => return self.take_key(*key),
            Event::Paste(text) if !self.input.insert(text) => return Taken::TooLong,
            _ => {}
        }
        Taken::Nothing
    }

    fn take_key(&mut self, key: KeyEvent) -> Taken {
        let page = self.height.saturating_sub(1).max(1);
        let [control, alt] = [KeyModifiers::CONTROL, KeyModifiers::ALT].map(|with| key.modifiers.contains(with));
        match key.code {
            _ if is_ctrl_c(&Event::Key(key)) => return Taken::CtrlC,
            KeyCode::Char('d') if control && self.input.is_empty() => return Taken::Line("/quit".to_owned()),
            KeyCode::Char('d') if control => self.input.delete(),
            KeyCode::Char('a') if control => self.input.home(),
            KeyCode::Char('e') if control => self.input.end(),
            KeyCode::Char('u') if control => self.input.delete_line(),
            KeyCode::Char('w') if control => self.input.delete_word(),
            KeyCode::Char(typed) if !control && !alt => drop(self.input.insert(typed.encode_utf8(&mut [0; 4]))),
            KeyCode::Backspace => self.input.delete_back(),
            KeyCode::Delete => self.input.delete(),
            KeyCode::Left => self.input.left(),
            KeyCode::Right => self.input.right(),
            KeyCode::Home => self.input.home(),
            KeyCode::End => self.input.end(),
            KeyCode::PageUp => self.below += page,
            KeyCode::PageDown => self.below = self.below.saturating_sub(page),
            KeyCode::Up => self.below += 1,
            KeyCode::Down => self.below = self.below.saturating_sub(1),
            KeyCode::Enter => {
                self.below = 0;
                return Taken::Line(self.input.take());
            }
            _ => {}
        }
        Taken::Nothing
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, room: &Room) {
        // On a terminal that is too low for all, this is the order in which they are left out.
        let below = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]);
        let [rest, typed] = below.areas(frame.area());
        let [above, standing] = below.areas(rest);
        let beside = Constraint::Length(if above.width < WIDE_COLUMNS { 0 } else { BESIDE_COLUMNS });
        let [rooms, lines, here] = Layout::horizontal([beside, Constraint::Fill(1), beside]).areas(above);
        draw_names(frame, rooms, ("rooms", Borders::RIGHT), &self.rooms, &self.room);
        draw_names(frame, here, ("here", Borders::LEFT), &self.here, "");
        self.draw_lines(frame, lines, room);
        self.draw_standing(frame, standing);
        self.draw_typed(frame, typed);
    }

    fn draw_lines(&mut self, frame: &mut Frame<'_>, area: Rect, room: &Room) {
        let block = Block::new().title(Row::styled(render::escaped(&self.room).into_owned(), Style::new().bold()));
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let rows = self.rows(room, inner.width.into(), inner.height.into());
        frame.render_widget(Paragraph::new(rows), inner);
    }

    /// The rows that are seen. They are made from the last one on, and no more of them than is needed.
    fn rows(&mut self, room: &Room, width: usize, height: usize) -> Vec<Row<'static>> {
        let mut lines = room.lines.iter().rev().take_while(|line| line.seq >= self.first).peekable();
        let mut notes = self.notes.iter().rev().peekable();
        let (newest, mut new_notes) = (self.newest, std::mem::take(&mut self.new_notes));
        let mut rows = VecDeque::new();
        self.newest = lines.peek().map_or(newest, |line| line.seq);
        while rows.len() < self.below + height {
            let line = lines.next_if(|line| notes.peek().is_none_or(|(behind, _)| *behind < line.seq));
            let (row, is_new) = match (line, line.is_none().then(|| notes.next()).flatten()) {
                (Some(line), _) => (row_of(line), line.seq > newest),
                (None, Some((_, note))) => {
                    let is_new = new_notes > 0;
                    new_notes = new_notes.saturating_sub(1);
                    (Row::styled(render::escaped(note).into_owned(), Style::new().dim()), is_new)
                }
                (None, None) => break,
            };
            let wrapped = wrapped(&row, width);
            if self.below > 0 && is_new {
                // Who looks at what was said before goes on looking at it.
                self.below += wrapped.len();
            }
            wrapped.into_iter().rev().for_each(|row| rows.push_front(row));
        }
        self.height = height;
        self.below = self.below.min(rows.len().saturating_sub(height));
        let end = rows.len() - self.below;
        rows.into_iter().take(end).skip(end.saturating_sub(height)).collect()
    }

    fn draw_standing(&self, frame: &mut Frame<'_>, area: Rect) {
        let standing = match (self.is_linked, self.below) {
            (false, _) => "connection lost, trying again; what you type is said then".to_owned(),
            (true, 0) if self.is_behind => "what you have typed before is said first".to_owned(),
            (true, 0) => "/help says what can be done".to_owned(),
            (true, below) => format!("{below} more below: PgDn"),
        };
        frame.render_widget(Paragraph::new(standing).style(Style::new().reversed()), area);
    }

    fn draw_typed(&self, frame: &mut Frame<'_>, area: Rect) {
        let [prompt, typed] = Layout::horizontal([Constraint::Length(2), Constraint::Fill(1)]).areas(area);
        let (text, column) = self.input.shown(typed.width.into());
        frame.render_widget(Span::raw("> "), prompt);
        frame.render_widget(Span::raw(text), typed);
        let column = u16::try_from(column).unwrap_or(u16::MAX);
        frame.set_cursor_position(Position::new(typed.x.saturating_add(column), typed.y));
    }
}

/// Whether it asks the program to end.
pub(super) fn is_ctrl_c(event: &Event) -> bool {
    matches!(event, Event::Key(KeyEvent { code: KeyCode::Char('c'), modifiers, kind, .. })
        if modifiers.contains(KeyModifiers::CONTROL) && *kind != KeyEventKind::Release)
}

/// Names below one another, as many as there is room for.
fn draw_names(
    frame: &mut Frame<'_>,
    area: Rect,
    (title, borders): (&'static str, Borders),
    names: &BTreeSet<String>,
    this: &str,
) {
    let style = |name| if name == this { Style::new().bold() } else { Style::new() };
    let names = names.iter().take(area.height.into());
    let rows = names.map(|name| Row::styled(render::escaped(name).into_owned(), style(name)));
    let block = Block::new().borders(borders).title(Row::styled(title, Style::new().dim()));
    frame.render_widget(Paragraph::new(Vec::from_iter(rows)).block(block), area);
}

/// A line before it is wrapped. Nothing in it acts on the terminal.
fn row_of(line: &Line) -> Row<'static> {
    let style = if has_colours(On::Stdout) { Style::new().fg(Color::Cyan) } else { Style::new().bold() };
    let author = Span::styled(render::escaped(&line.author).into_owned(), style);
    let text = render::escaped(&line.text);
    match line.kind {
        Kind::Says => Row::from_iter([author, Span::raw(format!(": {text}"))]),
        Kind::Does => Row::from_iter([Span::raw("* "), author, Span::raw(format!(" {text}"))]),
    }
}

/// A line over as many rows as it needs, broken between words where it can be.
fn wrapped(line: &Row<'_>, width: usize) -> Vec<Row<'static>> {
    // A character that is wider than the terminal would never fit.
    let width = width.max(2);
    let (mut rows, mut row, mut columns) = (Vec::new(), Vec::<Span<'static>>::new(), 0);
    // How many characters of the row are before its last word.
    let mut before = 0;
    for grapheme in line.styled_graphemes(Style::new()) {
        let character = Span::styled(grapheme.symbol.to_owned(), grapheme.style);
        let is_space = grapheme.symbol == " ";
        if columns + character.width() > width {
            let word = if before > 0 && !is_space { row.split_off(before) } else { Vec::new() };
            rows.push(Row::from(std::mem::replace(&mut row, word)));
            (columns, before) = (row.iter().map(Span::width).sum(), 0);
            if is_space {
                // The break stands for it.
                continue;
            }
        }
        columns += character.width();
        row.push(character);
        if is_space {
            before = row.len();
        }
    }
    rows.push(Row::from(row));
    rows
}

#[cfg(test)]
mod tests;
