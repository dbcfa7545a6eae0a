//! As much of Markdown as the documents use: fenced blocks with a comment before them, headings, links.

/// What the comment before a block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    None,
    NotRun { reason: String },
    Fails,
    Output,
    SaidBy { file: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Of the opening fence.
    pub line: usize,
    pub language: String,
    pub mark: Mark,
    pub text: String,
}

impl Block {
    pub fn is_code(&self) -> bool {
        matches!(self.language.as_str(), "sh" | "sql")
    }

    pub fn is_run(&self) -> bool {
        self.is_code() && matches!(self.mark, Mark::None | Mark::Fails)
    }
}

/// All fenced blocks in their order.
pub fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = "";
    for (number, line) in (1..).zip(text.lines()) {
        match (open.take(), line.strip_prefix("```")) {
            (Some(block), Some("")) => blocks.push(block),
            (Some(mut block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, Some(language)) => {
                let (language, text) = (language.to_owned(), String::new());
                let mark = mark(before).map_err(|problem| format!("line {}: {problem}", number - 1))?;
                open = Some(Block { line: number, language, mark, text });
            }
            (None, None) if line.contains("```") => {
                return Err(format!("line {number}: a fence stands at the beginning of a line"));
            }
            (None, None) => {}
        }
        before = line;
    }
    match open {
        Some(block) => Err(format!("line {}: the block has no end", block.line)),
        None => Ok(blocks),
    }
}

fn mark(line: &str) -> Result<Mark, String> {
    let Some(comment) = line.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")) else {
        return Ok(Mark::None);
    };
    let comment = comment.trim();
    match comment.split_once(": ").or_else(|| comment.split_once(" by ")) {
        Some(("not run", reason)) => Ok(Mark::NotRun { reason: reason.trim().to_owned() }),
        Some(("said", file)) => Ok(Mark::SaidBy { file: file.trim().to_owned() }),
        _ if comment == "fails" => Ok(Mark::Fails),
        _ if comment == "output" => Ok(Mark::Output),
        _ => Err(format!("{comment:?} is no mark that docs/README.md knows")),
    }
}

/// The text without its fenced blocks, line by line.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Anchors of the headings, as GitHub makes them.
pub fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Targets of links and pictures, code aside.
pub fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(text) {
        let words: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let targets = words.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        links.extend(targets.map(|(target, _)| target.to_owned()));
    }
    links
}

/// What stands between backquotes.
pub fn code_spans(text: &str) -> Vec<String> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The part of a document under a heading of the second level that begins so.
pub fn section<'a>(text: &'a str, heading: &str) -> Option<&'a str> {
    text.split("\n## ").skip(1).find(|section| section.starts_with(heading))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_its_language_and_its_mark() {
        let text = "one\n```sh\necho 1\n```\n<!-- output -->\n```text\n1\n```\n\n<!-- not run: why -->\n```sql\n```\n";
        let blocks = blocks(text).unwrap();
        let marks: Vec<_> = blocks.iter().map(|block| block.mark.clone()).collect();
        assert_eq!(marks, [Mark::None, Mark::Output, Mark::NotRun { reason: "why".into() }]);
        assert_eq!((blocks[0].line, blocks[0].text.as_str()), (2, "echo 1\n"));
        assert_eq!(blocks.iter().map(Block::is_run).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(blocks("```sh\n").unwrap_err().contains("no end"));
        assert!(blocks("<!-- skip -->\n```sh\n```\n").unwrap_err().contains("skip"));
        assert!(blocks("- ```sh\n").unwrap_err().contains("beginning"));
    }

    #[test]
    fn headings_and_links_are_found_outside_of_code_only() {
        let text = "# The `a.b`: c\n```text\n# no\n[no](no)\n```\n[x](y#z) and ![p](q.svg), `[no](no)`\n";
        assert_eq!(anchors(text), ["the-ab-c"]);
        assert_eq!(links(text), ["y#z", "q.svg"]);
        assert_eq!(code_spans(text), ["a.b", "[no](no)"]);
        assert_eq!(section("x\n## One\na\n## Two\nb", "Two"), Some("Two\nb"));
    }
}
