//! What was found, and how it is shown.

use serde::Serialize;

use crate::output::table::Look;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Good,
    /// It works, but not as it should, or not for long.
    Warning,
    /// It does not work, or data is in danger.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub verdict: Verdict,
    /// Such as "object storage".
    pub subject: String,
    /// What was seen.
    pub seen: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    pub fn good(subject: impl Into<String>, seen: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Good, subject: subject.into(), seen: seen.into(), advice: None }
    }

    pub fn warning(
        subject: impl Into<String>,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { verdict: Verdict::Warning, advice: Some(advice.into()), ..Finding::good(subject, seen) }
    }

    pub fn bad(subject: impl Into<String>, seen: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Bad, ..Finding::warning(subject, seen, advice) }
    }

    pub fn is_bad(&self) -> bool {
        self.verdict == Verdict::Bad
    }
}

/// A line for each, and below it what to do; then all of it in one sentence.
pub fn draw(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let (mark, look) = match finding.verdict {
            Verdict::Good => ("ok  ", Look::Good),
            Verdict::Warning => ("warn", Look::Warning),
            Verdict::Bad => ("BAD ", Look::Bad),
        };
        text += &format!("{}  {}: {}\n", look.paint(mark), finding.subject, finding.seen);
        if let Some(advice) = &finding.advice {
            text += &format!("      {advice}\n");
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    text + &match (count(Verdict::Bad), count(Verdict::Warning)) {
        (0, 0) => "\nNothing is wrong.".to_owned(),
        (0, warnings) => format!("\nIt works; {warnings} thing(s) to look after."),
        (bad, warnings) => format!("\n{bad} thing(s) wrong, {warnings} to look after."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_stands_with_what_to_do() {
        let good = Finding::good("clocks", "all agree");
        let bad = Finding::bad("object storage", "it is full", "make room");
        assert_eq!(
            anstream::adapter::strip_str(&draw(std::slice::from_ref(&good))).to_string(),
            "ok    clocks: all agree\n\nNothing is wrong."
        );
        let drawn = anstream::adapter::strip_str(&draw(&[good, bad])).to_string();
        assert!(drawn.contains("BAD   object storage: it is full\n      make room\n"), "{drawn}");
        assert!(drawn.ends_with("1 thing(s) wrong, 0 to look after."), "{drawn}");
    }
}
