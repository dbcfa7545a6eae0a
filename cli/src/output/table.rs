//! Tables without lines, as wide as their content needs, and the colours of what is in them.
//!
//! A colour always says something that a word beside it says too. No cell is shortened: what a name was cut to
//! cannot be typed.

use clap::builder::styling::{AnsiColor, Effects, Style};

/// What stands between two columns.
const GAP: &str = "  ";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
    /// There for completeness.
    Faint,
    Heading,
}

impl Look {
    const fn style(self) -> Style {
        match self {
            Look::Plain => Style::new(),
            Look::Good => AnsiColor::Green.on_default(),
            Look::Warning => AnsiColor::Yellow.on_default(),
            Look::Bad => AnsiColor::Red.on_default().effects(Effects::BOLD),
            Look::Faint => Style::new().effects(Effects::DIMMED),
            Look::Heading => Style::new().effects(Effects::BOLD),
        }
    }

    pub fn paint(self, text: &str) -> String {
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    look: Look,
}

impl Cell {
    pub fn new(text: impl Into<String>, look: Look) -> Cell {
        Cell { text: text.into(), look }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::new(text, Look::Plain)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::from(text.to_owned())
    }
}

/// One line for the header, one for each row.
pub fn table<C: Into<Cell>>(header: &[&str], rows: impl IntoIterator<Item = Vec<C>>) -> String {
    let header = header.iter().map(|title| Cell::new(*title, Look::Heading)).collect();
    let rows = rows.into_iter().map(|row| row.into_iter().map(Into::into).collect());
    let lines: Vec<Vec<Cell>> = std::iter::once(header).chain(rows).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(Cell::width).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    lines.iter().map(|line| draw(line, &widths)).collect::<Vec<_>>().join("\n")
}

fn draw(line: &[Cell], widths: &[usize]) -> String {
    let mut drawn = String::new();
    // Padding waits until something comes behind it: no line ends with spaces.
    let mut padding = 0;
    for (cell, width) in line.iter().zip(widths) {
        if !cell.text.is_empty() {
            drawn.push_str(&" ".repeat(padding));
            drawn.push_str(&cell.look.paint(&cell.text));
            padding = 0;
        }
        padding += width - cell.width() + GAP.len();
    }
    drawn
}

/// Words in lines of at most `columns`, those after the first behind `indent`. What is between backquotes is one
/// word, so that it can be pasted. A word that is longer stays whole.
pub fn wrap(text: &str, columns: usize, indent: &str) -> String {
    let mut lines = vec![String::new()];
    let mut quoted = false;
    let words = text.split(|letter| {
        quoted ^= letter == '`';
        letter == ' ' && !quoted
    });
    for word in words {
        let line = lines.last_mut().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > columns {
            lines.push(format!("{indent}{word}"));
        } else if let Some(last) = lines.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_where_their_text_does() {
        let rows = vec![vec!["┗━ a", "", "x"], vec!["long name", "2", ""]];
        let drawn = anstream::adapter::strip_str(&table(&["NAME", "N", "REST"], rows)).to_string();
        assert_eq!(drawn, "NAME       N  REST\n┗━ a          x\nlong name  2");
    }

    #[test]
    fn colours_take_no_room() {
        let rows = |look| vec![vec![Cell::new("up", look), Cell::from("1")]];
        let plain = table(&["STATE", "PID"], rows(Look::Plain));
        let coloured = table(&["STATE", "PID"], rows(Look::Good));
        assert_ne!(plain, coloured);
        let strip = |text: &str| anstream::adapter::strip_str(text).to_string();
        assert_eq!(strip(&plain), strip(&coloured));
    }

    #[test]
    fn wrapped_lines_are_no_longer_than_asked() {
        let text = "one two three four five";
        assert_eq!(wrap(text, 9, "  "), "one two\n  three\n  four\n  five");
        assert_eq!(wrap(text, 80, "  "), text);
        assert_eq!(wrap("a unbreakable b", 5, "  "), "a\n  unbreakable\n  b");
        assert_eq!(wrap("now `varve up` or", 9, ""), "now\n`varve up`\nor");
    }
}
