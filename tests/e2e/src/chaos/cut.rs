//! [`Cut`]: packets to or from a port of this host are lost, by a rule of the packet filter.

use std::process::{Command, Stdio};

use harness::run;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What clients send to the port.
    To,
    /// What is sent from the port.
    From,
    Both,
}

/// Ends when it is dropped.
pub struct Cut {
    table: String,
}

impl Cut {
    pub fn begin(port: u16, way: Way) -> Cut {
        let cut = Cut { table: format!("varve_chaos_{}", std::process::id()) };
        let rule = |direction: &str| format!("oifname lo tcp {direction} {port} counter drop\n");
        let rules = match way {
            Way::To => rule("dport"),
            Way::From => rule("sport"),
            Way::Both => rule("dport") + &rule("sport"),
        };
        let chain = format!("chain out {{\ntype filter hook output priority 0\n{rules}}}");
        cut.nft(&format!("table inet {} {{\n{chain}\n}}", cut.table));
        cut
    }

    /// Packets that were lost.
    pub fn dropped(&self) -> u64 {
        let text = self.nft(&format!("list table inet {}", self.table));
        let counts = text.split("counter packets ").skip(1);
        counts.filter_map(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).sum()
    }

    fn nft(&self, script: &str) -> String {
        run(as_root().args(["nft", script]))
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let deleted =
            as_root().args(["nft", "delete", "table", "inet", &self.table]).stdout(Stdio::null()).status();
        if !deleted.is_ok_and(|status| status.success()) {
            eprintln!(
                "the rules of the table inet {} are still there: nft delete table inet {0}",
                self.table
            );
        }
    }
}

pub fn as_root() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/as-root"))
}
