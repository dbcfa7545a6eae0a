//! Where in a branch's history somebody wants to be, as a field of a form says it.

use types::Lsn;

use crate::arguments::Moment;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    pub lsn: Option<Lsn>,
    pub time: Option<Moment>,
}

impl Point {
    /// Nothing is the head of the branch.
    pub fn parse(text: &str) -> anyhow::Result<Point> {
        let text = text.trim();
        if text.is_empty() || text.eq_ignore_ascii_case("now") {
            return Ok(Point::default());
        }
        if let Ok(lsn) = text.parse::<Lsn>() {
            return Ok(Point { lsn: Some(lsn), time: None });
        }
        let time = text.parse::<Moment>().map_err(|hint| {
            anyhow::anyhow!("{text:?} is neither an LSN as \"0/1A2B3C8\" nor a time: {hint}")
        })?;
        Ok(Point { lsn: None, time: Some(time) })
    }

    pub fn is_now(self) -> bool {
        self == Point::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_understood() {
        for now in ["", " ", "now", "NOW"] {
            assert!(Point::parse(now).unwrap().is_now(), "{now:?}");
        }
        assert_eq!(Point::parse(" 0/1A2B3C8 ").unwrap().lsn, Some(Lsn(0x01A2_B3C8)));
        assert!(Point::parse("2026-11-22T10:00:00Z").unwrap().time.is_some());
        assert!(Point::parse("2 hours ago").unwrap().time.is_some());
        let said = Point::parse("<script>").unwrap_err().to_string();
        assert!(said.contains("neither an LSN") && said.contains("2 hours ago"), "{said}");
    }
}
