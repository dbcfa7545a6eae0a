//! Rust sources as tokens: as much of the language as declarations of constants are made of. Comments are left out,
//! and what strings and characters say is nobody's business here.

/// Longest first, so that no operator is taken for two.
const OPERATORS: [&str; 14] =
    ["..=", "<<=", ">>=", "::", "->", "=>", "<<", ">>", "==", "!=", "<=", ">=", "&&", "||"];
const TEXT: &str = "\"\"";

pub fn tokens(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            _ if first.is_whitespace() => first.len_utf8(),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => {
                found.push(TEXT.to_owned());
                text_length(rest)
            }
            '\'' => {
                // A character, or a lifetime, which has no second quote.
                let length = character_length(rest).unwrap_or(1);
                found.push("'".to_owned());
                length
            }
            _ if is_word(first) => {
                let mut length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                // A number with a fraction. A range such as 0..3 is none.
                let fraction = rest[length..]
                    .strip_prefix('.')
                    .filter(|after| after.starts_with(|c: char| c.is_ascii_digit()));
                if let Some(digits) = fraction.filter(|_| first.is_ascii_digit()) {
                    length += 1 + digits.find(|c| !is_word(c)).unwrap_or(digits.len());
                }
                found.push(rest[..length].to_owned());
                length
            }
            _ => {
                let operator = OPERATORS.iter().find(|operator| rest.starts_with(**operator));
                let length = operator.map_or(first.len_utf8(), |operator| operator.len());
                found.push(rest[..length].to_owned());
                length
            }
        };
        rest = &rest[length..];
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

fn character_length(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        chars.next()?;
        return rest[3..].find('\'').map(|end| end + 4);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 1)
}

/// Position behind the bracket that closes the one at `open`.
pub fn behind_bracket(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Position of the first of `ends` that no bracket encloses, from `start` on.
pub fn find_outside(tokens: &[String], start: usize, ends: &[&str]) -> usize {
    let mut at = start;
    while at < tokens.len() && !ends.contains(&tokens[at].as_str()) {
        at = if ["(", "[", "{"].contains(&tokens[at].as_str()) { behind_bracket(tokens, at) } else { at + 1 };
    }
    at
}

#[test]
fn sources_become_tokens() {
    let source = "const A: [u8; 2] = [0x1f, b'\\'']; // 'x\n/* \" */ fn f<'a>(x: &'a str) -> f64 { \"a\\\"{\"; 1.5e3 }";
    assert_eq!(
        tokens(source).join(" "),
        "const A : [ u8 ; 2 ] = [ 0x1f , b ' ] ; fn f < ' a > ( x : & ' a str ) -> f64 { \"\" ; 1.5e3 }"
    );
    let range = tokens("0xf091..=0xf093");
    assert_eq!(range, ["0xf091", "..=", "0xf093"]);
    let list = tokens("(a, [b, c], d; e)");
    assert_eq!((behind_bracket(&list, 0), find_outside(&list, 1, &[";"])), (list.len(), 10));
}
