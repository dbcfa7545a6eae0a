//! Finds the constants that the pure crates declare: `const NAME: TYPE = VALUE;` wherever it stands, and the numbers
//! of enums (`Variant = VALUE`). Tests are left out, and so are constants that are text.

use std::fs;
use std::path::Path;

use crate::tokens::{behind_bracket, find_outside, tokens};

pub const CRATES: [&str; 4] = ["types", "pg_format", "wal_decoder", "page_redo"];
/// And our own names for some of them.
const INTEGERS: [&str; 13] = [
    "u8",
    "u16",
    "u32",
    "u64",
    "usize",
    "i8",
    "i16",
    "i32",
    "i64",
    "isize",
    "OffsetNumber",
    "Oid",
    "TransactionId",
];

/// One source file.
#[derive(Debug)]
pub struct Source {
    /// From the root of the repository, with slashes.
    pub path: String,
    pub constants: Vec<Constant>,
    /// Every name that a `use` brings in, as its whole path.
    pub imports: Vec<Vec<String>>,
}

#[derive(Clone, Debug)]
pub struct Constant {
    /// What it stands in, from the outermost: modules, functions, types.
    pub scope: Vec<String>,
    pub name: String,
    pub kind: Kind,
    pub value: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Integer,
    Float,
    /// Arrays, tuples and structs of numbers.
    Several,
}

impl Constant {
    pub fn qualified_name(&self) -> String {
        self.scope.iter().chain([&self.name]).map(String::as_str).collect::<Vec<_>>().join("::")
    }
}

/// All sources of the pure crates under `root`.
pub fn sources(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    for name in CRATES {
        let directory = format!("libs/{name}/src");
        visit(root, &directory, &mut found);
    }
    found
}

fn visit(root: &Path, directory: &str, found: &mut Vec<Source>) {
    let entries = fs::read_dir(root.join(directory)).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect(directory).file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    for name in names {
        let path = format!("{directory}/{name}");
        if root.join(&path).is_dir() {
            visit(root, &path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = fs::read_to_string(root.join(&path)).expect(&path);
            found.push(scan(path, &text));
        }
    }
}

pub fn scan(path: String, text: &str) -> Source {
    let mut scanner = Scanner { tokens: tokens(text), at: 0, scopes: Vec::new() };
    let mut source = Source { path, constants: Vec::new(), imports: Vec::new() };
    while scanner.at < scanner.tokens.len() {
        scanner.step(&mut source);
    }
    source
}

struct Scanner {
    tokens: Vec<String>,
    at: usize,
    /// The braces around, with the names of those that have one.
    scopes: Vec<Option<String>>,
}

impl Scanner {
    fn token(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", String::as_str)
    }

    fn step(&mut self, source: &mut Source) {
        let at = self.at;
        self.at += 1;
        match self.token(at) {
            "#" => self.attribute(at),
            "use" => {
                let end = find_outside(&self.tokens, at, &[";"]);
                flatten_use(&self.tokens[at + 1..end], &[], &mut source.imports);
                self.at = end;
            }
            "mod" | "fn" if self.token(at + 1) != "(" => {
                let name = self.token(at + 1).to_owned();
                self.enter(at, name);
            }
            "impl" | "trait" => {
                let open = find_outside(&self.tokens, at, &["{", ";"]);
                let name = type_name(&self.tokens[at + 1..open]);
                self.enter(at, name);
            }
            "enum" => self.enumeration(at, source),
            "const" if self.token(at + 2) == ":" && !["<", ","].contains(&self.token(at.wrapping_sub(1))) => {
                self.constant(at, source);
            }
            "{" => self.scopes.push(None),
            "}" => drop(self.scopes.pop()),
            _ => {}
        }
    }

    /// Goes into the braces of an item, or behind it if it has none.
    fn enter(&mut self, at: usize, name: String) {
        self.at = find_outside_braces(&self.tokens, at) + 1;
        if self.token(self.at - 1) == "{" {
            self.scopes.push(Some(name));
        }
    }

    /// An item for tests is passed over with its attribute.
    fn attribute(&mut self, at: usize) {
        let open = if self.token(at + 1) == "!" { at + 2 } else { at + 1 };
        self.at = behind_bracket(&self.tokens, open);
        if self.tokens[open..self.at].concat() == "[cfg(test)]" {
            let end = find_outside_braces(&self.tokens, self.at);
            self.at = if self.token(end) == "{" { behind_bracket(&self.tokens, end) } else { end + 1 };
        }
    }

    fn constant(&mut self, at: usize, source: &mut Source) {
        let equals = find_outside(&self.tokens, at, &["="]);
        let end = find_outside(&self.tokens, equals, &[";"]);
        self.at = end;
        let kind = match &self.tokens[at + 3..equals] {
            [name] if name == "f64" => Kind::Float,
            [name] if is_integer(name) => Kind::Integer,
            text if text.iter().any(|token| token == "str")
                && !text.iter().any(|token| is_integer(token)) =>
            {
                return;
            }
            _ => Kind::Several,
        };
        let value = self.tokens[equals + 1..end].to_vec();
        let scope = self.scopes.iter().flatten().cloned().collect();
        source.constants.push(Constant { scope, name: self.token(at + 1).to_owned(), kind, value });
    }

    fn enumeration(&mut self, at: usize, source: &mut Source) {
        let name = self.token(at + 1).to_owned();
        let open = find_outside_braces(&self.tokens, at);
        let close = behind_bracket(&self.tokens, open) - 1;
        self.at = close + 1;
        let mut variant = open + 1;
        while variant < close {
            let end = find_outside(&self.tokens, variant, &[","]).min(close);
            let equals = find_outside(&self.tokens, variant, &["="]);
            if equals < end {
                let scope = self.scopes.iter().flatten().chain([&name]).cloned().collect();
                let value = self.tokens[equals + 1..end].to_vec();
                let name = self.token(equals - 1).to_owned();
                source.constants.push(Constant { scope, name, kind: Kind::Integer, value });
            }
            variant = end + 1;
        }
    }
}

/// The brace that opens an item, or the semicolon that ends it.
fn find_outside_braces(tokens: &[String], start: usize) -> usize {
    find_outside(tokens, start, &["{", ";"])
}

fn is_integer(token: &str) -> bool {
    INTEGERS.contains(&token)
}

/// `Page` of `<'a> Page<'a>`, `Fork` of `fmt::Display for Fork`.
fn type_name(header: &[String]) -> String {
    let mut depth = 0;
    let mut name = String::new();
    for token in header {
        match token.as_str() {
            "<" => depth += 1,
            ">" => depth -= 1,
            "for" => name.clear(),
            "where" => break,
            word if depth == 0 && word.starts_with(|c: char| c.is_alphabetic()) => name = word.to_owned(),
            _ => {}
        }
    }
    name
}

fn flatten_use(tree: &[String], before: &[String], found: &mut Vec<Vec<String>>) {
    let mut path = before.to_vec();
    let mut at = 0;
    while at < tree.len() {
        match tree[at].as_str() {
            "{" => {
                let close = behind_bracket(tree, at) - 1;
                let mut start = at + 1;
                while start < close {
                    let end = find_outside(tree, start, &[","]).min(close);
                    flatten_use(&tree[start..end], &path, found);
                    start = end + 1;
                }
                return;
            }
            "::" => {}
            // A name of its own is no constant of ours.
            "as" => return,
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    found.push(path);
}

#[test]
fn constants_are_found_where_they_stand() {
    let text = "
        use a::{B, c::{D, E as F}};
        pub const A: u8 = 1 << 2;
        const NAMES: [&str; 1] = [\"const X: u8 = 1;\"];
        impl<'a> Page<'a> { pub(crate) const SIZE: usize = 3; const fn f<const N: usize>(x: [u8; 4]) -> u8 { const B: u16 = 4; 0 } }
        #[repr(u8)] pub enum State { /// one
            One = 1, Two(u8), Three = A + 2 }
        pub mod flags { pub const C: i64 = -1; }
        #[cfg(test)] mod tests { const HIDDEN: u8 = 9; }
        const PAIR: (u32, OffsetNumber) = (u32::MAX, 5);
        const FIXED: [(usize, &'static str); 1] = [(1, \"a\")];
    ";
    let source = scan(String::new(), text);
    let found: Vec<String> = source
        .constants
        .iter()
        .map(|constant| format!("{} = {}", constant.qualified_name(), constant.value.concat()))
        .collect();
    assert_eq!(
        found,
        [
            "A = 1<<2",
            "Page::SIZE = 3",
            "Page::f::B = 4",
            "State::One = 1",
            "State::Three = A+2",
            "flags::C = -1",
            "PAIR = (u32::MAX,5)",
            "FIXED = [(1,\"\")]"
        ]
    );
    assert_eq!(source.constants[6].kind, Kind::Several);
    assert_eq!(
        source.imports,
        [["a", "B"].map(String::from).to_vec(), ["a", "c", "D"].map(String::from).to_vec()]
    );
}
