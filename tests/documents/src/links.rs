//! Links between the documents, and the files of the tree that they name.

use std::path::Path;

use crate::library;
use crate::markdown::{Mark, anchors, code_spans, links};

/// In all documents; names every one that leads nowhere.
pub fn check_all() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for path in library::all() {
        let text = library::read(&path);
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            seen += 1;
            if let Err(problem) = follow(&path, &text, link) {
                broken.push(format!("{path}: {link}: {problem}"));
            }
        }
        let named = code_spans(&text).into_iter().chain(named_by_reasons(&path));
        for file in named.filter(|name| names_a_file(name) && !exists(&path, name)) {
            broken.push(format!("{path}: there is no {file}"));
        }
    }
    for path in library::with_commands().iter().filter(|path| path.starts_with("docs/") && !is_index(path)) {
        let index = library::read("docs/README.md");
        if !links(&index).iter().any(|link| format!("docs/{link}") == **path) {
            broken.push(format!("docs/README.md does not list {path}"));
        }
    }
    assert!(seen > 0, "no link was found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Words of the reasons why blocks are not run: they may name what runs them instead.
fn named_by_reasons(path: &str) -> Vec<String> {
    let reasons = library::blocks(path).into_iter().filter_map(|block| match block.mark {
        Mark::NotRun { reason } => Some(reason),
        _ => None,
    });
    reasons
        .flat_map(|reason| reason.split([' ', ',', ':', ';']).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

fn is_index(path: &str) -> bool {
    path == "docs/README.md"
}

fn follow(from: &str, text: &str, link: &str) -> Result<(), String> {
    let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
    let there = library::root().join(from).parent().expect("a directory").join(target);
    if !target.is_empty() && !there.exists() {
        return Err("there is no such file".to_owned());
    }
    if anchor.is_empty() {
        return Ok(());
    }
    let anchors = match target {
        "" => anchors(text),
        _ => anchors(&std::fs::read_to_string(&there).map_err(|error| error.to_string())?),
    };
    match anchors.iter().any(|known| known == anchor) {
        true => Ok(()),
        false => Err(format!("there is no such heading; there are: {}", anchors.join(", "))),
    }
}

/// `tests/docker/run` and its like: a path that begins with a directory of the tree.
fn names_a_file(span: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let Some((first, rest)) = span.split_once('/') else { return false };
    // A build makes the one and `make up` the other; names in capitals stand for others.
    let is_made = ["target", ".varve"].contains(&first);
    let ours = !first.is_empty() && !is_made && library::root().join(first).is_dir();
    ours && span.chars().all(plain)
        && !rest.split('/').any(|part| part.chars().any(|c| c.is_ascii_uppercase()) && !part.contains('.'))
}

fn exists(from: &str, file: &str) -> bool {
    let beside =
        library::root().join(from).parent().is_some_and(|directory: &Path| directory.join(file).exists());
    beside || library::root().join(file).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_link_is_one() {
        assert!(follow("docs/README.md", "", "nowhere.md").is_err());
        assert!(follow("docs/README.md", "", "../README.md#no-such-heading").is_err());
        assert!(follow("docs/README.md", "# Here\n", "#here").is_ok());
        assert!(
            names_a_file("tests/docker/run")
                && !names_a_file("auth/tokens")
                && !names_a_file("safekeepers/N/")
        );
    }
}
