//! What a block printed, against what the document shows: the lines that are shown must come, in their order.

/// Stands for anything.
const ANYTHING: char = '…';
const ID_LENGTH: usize = 32;

/// The first line of `shown` that `printed` does not have behind the lines before it.
pub fn missing<'a>(shown: &'a str, printed: &str) -> Option<&'a str> {
    let printed: Vec<String> = printed.lines().map(shape).collect();
    let mut rest = printed.as_slice();
    for line in shown.lines().filter(|line| !line.trim().is_empty()) {
        let pattern = shape(line);
        match rest.iter().position(|candidate| matches(&pattern, candidate)) {
            Some(at) => rest = &rest[at + 1..],
            None => return Some(line),
        }
    }
    None
}

/// Blanks count once, ids and LSNs not at all.
fn shape(line: &str) -> String {
    let words: Vec<String> = line.split_whitespace().map(without_ids).collect();
    words.join(" ")
}

fn without_ids(word: &str) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit() || c == '/';
    let mut shape = String::new();
    let mut rest = word;
    while let Some(begin) = rest.find(is_part) {
        let length = rest[begin..].find(|c| !is_part(c)).unwrap_or(rest.len() - begin);
        let part = &rest[begin..begin + length];
        shape.push_str(&rest[..begin]);
        shape.push_str(if is_id(part) || is_lsn(part) { "#" } else { part });
        rest = &rest[begin + length..];
    }
    shape + rest
}

fn is_id(part: &str) -> bool {
    part.len() == ID_LENGTH && !part.contains('/')
}

fn is_lsn(part: &str) -> bool {
    part.split_once('/').is_some_and(|(high, low)| {
        [high, low]
            .iter()
            .all(|half| (1..=8).contains(&half.len()) && half.chars().all(|c| c.is_ascii_hexdigit()))
    })
}

fn matches(pattern: &str, line: &str) -> bool {
    let mut fragments = pattern.split(ANYTHING).map(str::trim);
    let first = fragments.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut last = None;
    for fragment in fragments {
        let Some(at) = rest.find(fragment) else { return false };
        rest = &rest[at + fragment.len()..];
        last = Some(fragment);
    }
    match last {
        None => rest.is_empty(),
        Some("") => true,
        Some(fragment) => line.ends_with(fragment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_order_with_others_between() {
        assert_eq!(missing("a\nc\n", "a\nb\nc\n"), None);
        assert_eq!(missing("c\na\n", "a\nb\nc\n"), Some("a"));
        assert_eq!(missing("1\n", "11\n"), Some("1"));
        assert_eq!(missing("a | b", " a  |   b "), None);
    }

    #[test]
    fn ids_and_lsns_may_differ_and_numbers_not() {
        let (one, other) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
        assert_eq!(
            missing(&format!("main [{one}] head 0/16B9188,"), &format!("main [{other}] head 3/0,")),
            None
        );
        assert!(missing("3 rows", "4 rows").is_some());
        assert!(missing("a/b/c", "a/b/d").is_some());
    }

    #[test]
    fn an_ellipsis_stands_for_anything() {
        assert_eq!(missing("…dev […", "┣━ @0/1: dev [x] head"), None);
        assert_eq!(missing("from … to", "from here to"), None);
        assert!(missing("from … to", "from here to there").is_some());
        assert!(missing("from …", "not from here").is_some());
    }
}
