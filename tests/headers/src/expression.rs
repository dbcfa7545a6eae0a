//! Values of constants: literals, other constants, casts, and Rust's operators in their order.

use crate::scanner::{Constant, Kind, Source};
use crate::tokens::{behind_bracket, find_outside};

/// Weakest first; what stands in one row binds alike.
const OPERATORS: [&[&str]; 6] = [&["|"], &["^"], &["&"], &["<<", ">>"], &["+", "-"], &["*", "/", "%"]];

/// The numbers in a constant, in the order in which they are written.
pub fn numbers(sources: &[Source], source: &Source, constant: &Constant) -> Result<Vec<i128>, String> {
    let names = Names { sources, source, scope: &constant.scope };
    match constant.kind {
        Kind::Integer => Ok(vec![evaluate(&constant.value, &names)?]),
        Kind::Float => Ok(vec![whole(&constant.value.concat())?]),
        Kind::Several => several(&constant.value, &names),
    }
}

fn whole(text: &str) -> Result<i128, String> {
    let float: f64 = text.replace('_', "").parse().map_err(|_| format!("{text} is no number"))?;
    if float.fract() == 0.0 { Ok(float as i128) } else { Err(format!("{text} has a fraction")) }
}

/// A list in brackets, also one of a constructor, a range, or else one number. Text counts for nothing.
fn several(value: &[String], names: &Names<'_>) -> Result<Vec<i128>, String> {
    if let [text] = value
        && text.starts_with('"')
    {
        return Ok(Vec::new());
    }
    let open = find_outside_open(value);
    if open < value.len() && behind_bracket(value, open) == value.len() {
        let inside = &value[open + 1..value.len() - 1];
        let mut found = Vec::new();
        let mut start = 0;
        while start < inside.len() {
            let end = find_outside(inside, start, &[","]);
            found.extend(several(&inside[start..end], names)?);
            start = end + 1;
        }
        return Ok(found);
    }
    let range = find_outside(value, 0, &["..="]);
    if range < value.len() {
        return Ok(vec![evaluate(&value[..range], names)?, evaluate(&value[range + 1..], names)?]);
    }
    Ok(vec![evaluate(value, names)?])
}

/// Where the list begins if nothing but a path stands before it.
fn find_outside_open(value: &[String]) -> usize {
    let is_path = |token: &&String| token.as_str() == "::" || token.starts_with(|c: char| c.is_alphabetic());
    let path = value.iter().take_while(is_path).count();
    match value.get(path).map(String::as_str) {
        Some("[" | "(") => path,
        _ => value.len(),
    }
}

/// Where names are looked up: in the file and what is around the constant, then in what the file imports.
struct Names<'a> {
    sources: &'a [Source],
    source: &'a Source,
    scope: &'a [String],
}

impl Names<'_> {
    fn value(&self, path: &[&str]) -> Result<i128, String> {
        match path {
            [primitive, "MAX"] if primitive.starts_with('u') => {
                let bits: u32 = primitive[1..].parse().map_err(|_| format!("{primitive}::MAX is unknown"))?;
                Ok((1i128 << bits) - 1)
            }
            ["Self", name] => self.of_type(self.scope.last().map_or("", String::as_str), name),
            [type_name, name] => self.of_type(type_name, name),
            [name] => self.plain(name),
            _ => Err(format!("{} is not understood", path.join("::"))),
        }
    }

    fn of_type(&self, type_name: &str, name: &str) -> Result<i128, String> {
        self.only(name, |_, constant| constant.scope.last().is_some_and(|scope| scope == type_name))
    }

    fn plain(&self, name: &str) -> Result<i128, String> {
        let around = |constant: &Constant| constant.name == name && self.scope.starts_with(&constant.scope);
        if self.source.constants.iter().any(around) {
            return self.only(name, |source, constant| source.path == self.source.path && around(constant));
        }
        let import = self.source.imports.iter().find(|path| path.last().is_some_and(|last| last == name));
        let import = import.ok_or_else(|| format!("{name} is neither declared nor imported"))?;
        let module = &import[import.len().saturating_sub(2)];
        self.only(name, |source, constant| constant.scope.is_empty() && self.is_module(source, module))
    }

    fn is_module(&self, source: &Source, module: &str) -> bool {
        let parts: Vec<&str> = source.path.trim_end_matches(".rs").split('/').collect();
        let own: Vec<&str> = self.source.path.trim_end_matches(".rs").split('/').collect();
        let is_parent = own.split_last().is_some_and(|(_, around)| parts == [around, &["mod"]].concat());
        let name = if parts.last() == Some(&"mod") { parts.iter().rev().nth(1) } else { parts.last() };
        parts.get(1) == Some(&module) || name == Some(&module) || (module == "super" && is_parent)
    }

    /// The value that all constants of this name have for which `is_meant` holds.
    fn only(&self, name: &str, is_meant: impl Fn(&Source, &Constant) -> bool) -> Result<i128, String> {
        let mut value = None;
        for source in self.sources {
            let meant = source
                .constants
                .iter()
                .filter(|constant| constant.name == name && is_meant(source, constant));
            for constant in meant {
                let names = Names { sources: self.sources, source, scope: &constant.scope };
                let this = evaluate(&constant.value, &names)?;
                if value.is_some_and(|other| other != this) {
                    return Err(format!("{name} could be one of several constants"));
                }
                value = Some(this);
            }
        }
        value.ok_or_else(|| format!("{name} is not found"))
    }
}

fn evaluate(tokens: &[String], names: &Names<'_>) -> Result<i128, String> {
    let mut parser = Parser { tokens, at: 0, names };
    let value = parser.level(0)?;
    if parser.at == tokens.len() { Ok(value) } else { Err(format!("{} is not understood", tokens.concat())) }
}

struct Parser<'a> {
    tokens: &'a [String],
    at: usize,
    names: &'a Names<'a>,
}

impl<'a> Parser<'a> {
    fn next_is(&self, expected: &[&str]) -> Option<&'a str> {
        self.tokens.get(self.at).map(String::as_str).filter(|token| expected.contains(token))
    }

    fn level(&mut self, level: usize) -> Result<i128, String> {
        let Some(operators) = OPERATORS.get(level) else {
            return self.cast();
        };
        let mut left = self.level(level + 1)?;
        while let Some(operator) = self.next_is(operators) {
            self.at += 1;
            let right = self.level(level + 1)?;
            left = apply(operator, left, right)
                .ok_or_else(|| format!("{left} {operator} {right} has no value"))?;
        }
        Ok(left)
    }

    fn cast(&mut self) -> Result<i128, String> {
        let value = self.operand()?;
        while self.next_is(&["as"]).is_some() {
            // Casts that lose something would be a mistake of ours: the number is compared as it is.
            self.at += 2;
        }
        Ok(value)
    }

    fn operand(&mut self) -> Result<i128, String> {
        let token = self.tokens.get(self.at).ok_or("a value is missing")?;
        self.at += 1;
        match token.as_str() {
            "-" => Ok(-self.operand()?),
            "(" => {
                let end = behind_bracket(self.tokens, self.at - 1);
                let inside = &self.tokens[self.at..end - 1];
                self.at = end;
                evaluate(inside, self.names)
            }
            number if number.starts_with(|c: char| c.is_ascii_digit()) => literal(number),
            word => {
                let mut path = vec![word];
                while self.next_is(&["::"]).is_some() {
                    path.push(self.tokens.get(self.at + 1).ok_or("a path ends early")?);
                    self.at += 2;
                }
                self.names.value(&path)
            }
        }
    }
}

fn apply(operator: &str, left: i128, right: i128) -> Option<i128> {
    let shift = || u32::try_from(right).ok();
    match operator {
        "|" => Some(left | right),
        "^" => Some(left ^ right),
        "&" => Some(left & right),
        "<<" => left.checked_shl(shift()?),
        ">>" => left.checked_shr(shift()?),
        "+" => left.checked_add(right),
        "-" => left.checked_sub(right),
        "*" => left.checked_mul(right),
        "/" => left.checked_div(right),
        _ => left.checked_rem(right),
    }
}

fn literal(text: &str) -> Result<i128, String> {
    let digits = text.replace('_', "");
    let (digits, radix) = match digits.get(..2) {
        Some("0x") => (&digits[2..], 16),
        Some("0b") => (&digits[2..], 2),
        _ => (digits.as_str(), 10),
    };
    // A suffix names a type: no digit of any radix is a u, and i is none either.
    let digits = digits.split(['u', 'i']).next().unwrap_or_default();
    i128::from_str_radix(digits, radix).map_err(|_| format!("{text} is no number"))
}

#[test]
fn constants_have_the_values_that_rust_gives_them() {
    use crate::scanner::scan;

    let other = scan("libs/types/src/pg.rs".to_owned(), "pub const BLCKSZ: usize = 8_192;");
    let text = "
        use types::BLCKSZ;
        const A: u32 = 1 | 6 & 3 << 1;
        const B: u32 = (BLCKSZ - T::SIZE) as u32 * 4 / 0x10u32;
        impl T { const SIZE: usize = 24; const TWICE: usize = Self::SIZE + Self::SIZE; }
        const C: (u32, OffsetNumber) = (u32::MAX, A - 1);
        const D: Lsn = Lsn(16 << 20);
        const E: std::ops::RangeInclusive<u16> = 0xf1..=0xf3;
        const F: [(usize, &S); 2] = [(1, \"a\"), ((2 + 3) * 2, \"b\")];
        const G: f64 = 1234567.0;
        const H: u8 = nowhere::X;
    ";
    let sources = [other, scan("libs/x/src/y.rs".to_owned(), text)];
    let value = |name: &str| {
        let constant =
            sources[1].constants.iter().find(|constant| constant.qualified_name() == name).unwrap();
        numbers(&sources, &sources[1], constant)
    };
    assert_eq!(value("A"), Ok(vec![7]));
    assert_eq!(value("B"), Ok(vec![2042]));
    assert_eq!(value("T::TWICE"), Ok(vec![48]));
    assert_eq!(value("C"), Ok(vec![0xffff_ffff, 6]));
    assert_eq!(value("D"), Ok(vec![16 << 20]));
    assert_eq!(value("E"), Ok(vec![0xf1, 0xf3]));
    assert_eq!(value("F"), Ok(vec![1, 10]));
    assert_eq!(value("G"), Ok(vec![1_234_567]));
    assert_eq!(value("H"), Err("X is not found".to_owned()));
}
