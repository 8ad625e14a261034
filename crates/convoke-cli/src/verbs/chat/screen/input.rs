//! The line that is being typed, and where in it.

use ratatui::style::Style;
use ratatui::text::Span;

use crate::verbs::chat::room::LINE_BYTES_MAX;

#[derive(Debug, Default)]
pub(super) struct Input {
    text: String,
    /// In bytes, between two characters as they are seen.
    cursor: usize,
}

impl Input {
    /// Types this, all or nothing: whether there is room for it. Line breaks and tabs are spaces here; what a terminal would
    /// act on is left out.
    pub(super) fn insert(&mut self, text: &str) -> bool {
        let plain = text.replace("\r\n", " ").replace(['\n', '\r', '\t'], " ").replace(char::is_control, "");
        let has_room = self.text.len() + plain.len() <= LINE_BYTES_MAX;
        if has_room {
            self.text.insert_str(self.cursor, &plain);
            self.cursor += plain.len();
        }
        has_room
    }

    /// What was typed; then there is nothing.
    pub(super) fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn left(&mut self) {
        self.cursor = self.before();
    }

    pub(super) fn right(&mut self) {
        self.cursor = self.behind();
    }

    pub(super) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(super) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    pub(super) fn delete(&mut self) {
        self.text.drain(self.cursor..self.behind());
    }

    pub(super) fn delete_back(&mut self) {
        self.delete_from(self.before());
    }

    /// The word before the cursor.
    pub(super) fn delete_word(&mut self) {
        let before = self.text[..self.cursor].trim_end();
        self.delete_from(before.rfind(' ').map_or(0, |space| space + 1));
    }

    /// All before the cursor.
    pub(super) fn delete_line(&mut self) {
        self.delete_from(0);
    }

    fn delete_from(&mut self, start: usize) {
        self.text.drain(start..self.cursor);
        self.cursor = start;
    }

    /// What of it is seen in so many columns, and the column of the cursor.
    pub(super) fn shown(&self, columns: usize) -> (&str, usize) {
        // The cursor stands behind the last character, and needs a column too.
        let room = columns.saturating_sub(1);
        let width = |start: usize| Span::raw(&self.text[start..self.cursor]).width();
        let starts = self.boundaries().into_iter().take_while(|start| *start <= self.cursor);
        let start = starts.into_iter().find(|start| width(*start) <= room).unwrap_or(self.cursor);
        (&self.text[start..], width(start))
    }

    fn before(&self) -> usize {
        self.boundaries().into_iter().take_while(|at| *at < self.cursor).last().unwrap_or(0)
    }

    fn behind(&self) -> usize {
        self.boundaries().into_iter().find(|at| *at > self.cursor).unwrap_or(self.cursor)
    }

    /// Where characters begin and end, as they are seen: a letter and its accents, a flag, a family are one.
    fn boundaries(&self) -> Vec<usize> {
        let (span, mut boundaries) = (Span::raw(&self.text), vec![0]);
        for grapheme in span.styled_graphemes(Style::new()) {
            boundaries.push(boundaries.last().unwrap_or(&0) + grapheme.symbol.len());
        }
        boundaries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Input {
        let mut input = Input::default();
        input.insert(text);
        input
    }

    #[test]
    fn characters_are_what_is_seen() {
        let mut input = typed("e\u{301}👨‍👩‍👧日");
        input.left();
        input.delete_back();
        assert_eq!(input.shown(80), ("e\u{301}日", 1), "a family is one character");
        input.left();
        input.right();
        input.delete_back();
        assert_eq!(input.shown(80), ("日", 0), "and so is a letter with its accent");
        input.delete();
        assert!(input.is_empty());
        input.delete();
        input.delete_back();
        input.left();
        input.right();
        assert_eq!(input.take(), "");
    }

    #[test]
    fn words_and_lines_go_at_once() {
        let mut input = typed("one two  three");
        input.delete_word();
        assert_eq!(input.shown(80).0, "one two  ");
        input.delete_word();
        assert_eq!(input.shown(80).0, "one ");
        input.insert("2 3");
        input.left();
        input.delete_line();
        assert_eq!(input.shown(80), ("3", 0));
        assert_eq!(input.take(), "3");
        let mut input = typed("end");
        input.home();
        input.insert("the ");
        input.end();
        input.insert("!");
        assert_eq!(input.take(), "the end!");
    }

    #[test]
    fn a_paste_is_one_line_that_no_terminal_acts_on() {
        assert_eq!(typed("a\r\nb\t\u{1b}[2Jc").take(), "a b [2Jc");
        let mut long = typed(&"x".repeat(LINE_BYTES_MAX));
        assert!(!long.insert("y"), "there is no room");
        assert_eq!(long.take().len(), LINE_BYTES_MAX);
    }

    #[test]
    fn a_long_line_is_seen_where_the_cursor_is() {
        let mut input = typed("0123456789日本");
        assert_eq!(input.shown(80), ("0123456789日本", 14));
        assert_eq!(input.shown(8), ("789日本", 7));
        assert_eq!(input.shown(7), ("89日本", 6));
        assert_eq!(input.shown(4), ("本", 2), "a character is seen wholly or not at all");
        assert_eq!(input.shown(1), ("", 0));
        assert_eq!(input.shown(0), ("", 0));
        input.home();
        assert_eq!(input.shown(8), ("0123456789日本", 0));
    }
}
