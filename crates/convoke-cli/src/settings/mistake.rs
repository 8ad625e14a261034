//! What is wrong about the settings, and where: one line `FILE:LINE:COLUMN: …`, and on a terminal the line of the file
//! with a mark below it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use crate::render;

/// So much of a line of the file is shown, in columns: what a terminal has.
const LINE_COLUMNS_MAX: usize = 160;

/// So much is said of one mistake, in characters: what a file has in the place of a word may be as long as the file.
const TEXT_CHARS_MAX: usize = 1000;

/// Where in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Mistake {
    place: Option<Place>,
    /// What is wrong, and what is allowed.
    text: String,
    /// The line of the file and the mark.
    below: String,
    exit: Exit,
}

impl Place {
    /// The place of a byte of this text.
    pub(super) fn at(file: &Path, text: &str, byte: usize) -> Place {
        let byte = text.floor_char_boundary(byte);
        let begin = text[..byte].rfind('\n').map_or(0, |end| end + 1);
        Place {
            file: file.to_owned(),
            line: text[..byte].matches('\n').count() + 1,
            column: text[begin..byte].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

impl Mistake {
    /// In the file.
    pub(super) fn at(file: &Path, text: &str, bytes: Range<usize>, what: impl Into<String>) -> Mistake {
        let place = Place::at(file, text, bytes.start);
        let below = marked(text, &bytes, place.line);
        Mistake { place: Some(place), text: cut(what.into()), below, exit: Exit::Configuration }
    }

    /// About a file as a whole, or the environment.
    pub(crate) fn new(what: impl Into<String>) -> Mistake {
        Mistake { place: None, text: cut(what.into()), below: String::new(), exit: Exit::Configuration }
    }

    /// Mistakes are told in the order of their places.
    pub(super) fn order(&self) -> (usize, usize) {
        self.place.as_ref().map_or((0, 0), |place| (place.line, place.column))
    }

    /// On the command line.
    pub(super) fn flag(what: impl Into<String>) -> Mistake {
        Mistake { exit: Exit::Usage, ..Mistake::new(what) }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl From<Mistake> for Failure {
    fn from(mistake: Mistake) -> Failure {
        let kind = if mistake.exit == Exit::Usage { "Usage" } else { "Configuration" };
        let failure = Failure::new(mistake.exit, kind, mistake.to_string());
        match mistake.place {
            Some(_) => failure.with_excerpt(mistake.below),
            None => failure,
        }
    }
}

fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

/// The line of the text in which the bytes begin, with a mark below them.
fn marked(text: &str, bytes: &Range<usize>, line: usize) -> String {
    let start = text.floor_char_boundary(bytes.start);
    let begin = text[..start].rfind('\n').map_or(0, |end| end + 1);
    let end = text[start..].find('\n').map_or(text.len(), |end| start + end);
    // A tab is as wide as its terminal likes.
    let shown = |part: &str| render::escaped(&part.replace('\t', " ").replace('\r', "")).into_owned();
    let before = shown(&text[begin..start]);
    let marked = shown(&text[start..text.floor_char_boundary(bytes.end.clamp(start, end))]);
    let whole = shown(&text[begin..end]);
    if columns(&before) > LINE_COLUMNS_MAX {
        return String::new();
    }
    let cut = whole.char_indices().nth(LINE_COLUMNS_MAX).map_or(whole.len(), |(at, _)| at);
    let width = columns(&marked).clamp(1, LINE_COLUMNS_MAX);
    let number = line.to_string();
    let (gap, blank) = (" ".repeat(number.len()), " ".repeat(columns(&before)));
    format!("{gap} |\n{number} | {}\n{gap} | {blank}{}", &whole[..cut], "^".repeat(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_where_it_is() {
        let text = "[hub]\r\n\tlisten = \"größe\" # \u{1b}[2J\n";
        let start = text.find("\"gr").unwrap_or_default();
        let mistake = Mistake::at(Path::new("a.toml"), text, start..start + 9, "what is wrong");
        assert_eq!(mistake.to_string(), "a.toml:2:11: what is wrong");
        assert_eq!(mistake.below, "  |\n2 |  listen = \"größe\" # \\u001b[2J\n  |           ^^^^^^^");
    }

    #[test]
    fn what_is_said_of_a_mistake_has_a_bound() {
        let said = Mistake::at(Path::new("a"), "", 0..0, "ß".repeat(1 << 20)).to_string();
        assert_eq!(said, format!("a:1:1: {}…", "ß".repeat(TEXT_CHARS_MAX)));
        assert_eq!(Mistake::new("x".repeat(TEXT_CHARS_MAX)).to_string().len(), TEXT_CHARS_MAX);
    }

    #[test]
    fn a_place_beyond_the_end_is_the_end() {
        assert_eq!(Place::at(Path::new("a"), "ab", 9).to_string(), "a:1:3");
        assert_eq!(marked("ab", &(2..2), 1), "  |\n1 | ab\n  |   ^");
        assert_eq!(marked("", &(0..0), 1), "  |\n1 | \n  | ^");
    }
}
