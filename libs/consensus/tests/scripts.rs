//! Runs testscripts/: stories of elections and appends that can be read without knowing the code.
//! `UPDATE_GOLDENFILES=1 cargo test -p consensus --test scripts` writes the outputs anew; read the difference.
//!
//! ```text
//! propose p1 [generation=N]   a proposer appears and connects to every acceptor that is up
//! propose p1 succeeding=T     … of a compute that led term T before
//! deliver                     messages go through, in order, until there are none; acceptors flush
//! deliver N                   the first N messages that are under way go through
//! deliver twice | reversed    what is under way now arrives twice, or in the opposite order
//! write p1 TEXT               PostgreSQL writes; a record is eight bytes
//! cut 3 / heal 3              acceptor 3 hears nobody and is not heard / is connected to all again
//! lose                        what is under way is lost
//! crash 3 / restart 3         what 3 has not flushed is lost / 3 comes back
//! kill p1                     p1 is gone without a word
//! campaign p1                 p1 begins another campaign
//! tick p1                     time goes by for p1
//! unreadable 3 / readable 3   WAL of 3 cannot be read, although it answers / can be read again
//! hold                        from now on what proposers read from acceptors is under way until it arrives or fails
//! arrive / fail               the first read that is under way arrives / fails
//! status                      what everybody holds
//! ```

mod timeline;
mod world;

use std::collections::{BTreeSet, VecDeque};
use std::error::Error;
use std::fmt::Write as _;

use consensus::{AcceptorMessage, ProposerEvent, ProposerMessage, TermHistory};
use types::{NodeId, Term};
use world::{Happening, Packet, World};

struct Scripts {
    world: World,
    cut: BTreeSet<NodeId>,
}

impl Scripts {
    fn deliver_all(&mut self, out: &mut String) {
        // A story that does not come to rest has a fault.
        for _ in 0..1000 {
            if self.world.packets.is_empty() {
                for id in self.nodes() {
                    self.world.batch_end(id);
                }
                if self.world.packets.is_empty() {
                    return;
                }
            }
            let packet = self.world.packets.remove(0);
            self.deliver(packet, out);
        }
        out.push_str("never comes to rest\n");
    }

    fn deliver(&mut self, packet: Packet, out: &mut String) {
        if self.cut.contains(&packet.node()) {
            return;
        }
        let _ = writeln!(out, "{}", describe(&packet));
        self.world.deliver(packet);
        self.tell(out);
    }

    fn tell(&mut self, out: &mut String) {
        for happening in self.world.happenings.drain(..) {
            let _ = writeln!(out, "    {}", describe_happening(&happening));
        }
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.world.nodes.keys().copied().collect()
    }

    fn status(&self) -> String {
        let mut out = String::new();
        for (name, claim) in &self.world.claims {
            let proposer = &claim.proposer;
            let _ = match (proposer.term(), claim.established) {
                _ if claim.over => writeln!(out, "{name}: over"),
                (None, _) => writeln!(out, "{name}: greeting"),
                (Some(term), None) => writeln!(out, "{name}: term {term}, not established"),
                (Some(term), Some((_, start))) => {
                    writeln!(out, "{name}: term {term} from {start}, commit {}", proposer.commit_lsn())
                }
            };
        }
        for node in self.world.nodes.values() {
            let Some(acceptor) = &node.acceptor else {
                let _ = writeln!(out, "{}: down", node.id);
                continue;
            };
            let text = String::from_utf8_lossy(&node.wal);
            let _ = writeln!(
                out,
                "{}: term {}, flush {}, commit {}, history {}, WAL {text:?}",
                node.id,
                acceptor.term(),
                acceptor.flush_lsn(),
                acceptor.commit_lsn(),
                describe_history(&acceptor.state().history),
            );
        }
        out
    }
}

impl goldenscript::Runner for Scripts {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        command: &goldenscript::Command,
        _: &goldenscript::Context,
    ) -> Result<String, Box<dyn Error>> {
        let mut arguments = command.consume_args();
        let generation = arguments.take_key("generation").unwrap_or("1").parse()?;
        let succeeding = arguments.take_key("succeeding").map(str::parse).transpose()?.map(Term);
        let first = arguments.next_pos().unwrap_or_default().to_owned();
        let second = arguments.next_pos().unwrap_or_default().to_owned();
        arguments.reject_next()?;
        let node = || first.parse::<NodeId>();
        let mut out = String::new();
        match command.name.as_str() {
            "propose" => {
                self.world.propose(&first, generation, succeeding);
                for cut in &self.cut {
                    self.world.disconnect(&first, *cut);
                }
            }
            "deliver" => match first.as_str() {
                "twice" => {
                    let now = std::mem::take(&mut self.world.packets);
                    now.into_iter()
                        .flat_map(|packet| [packet.clone(), packet])
                        .for_each(|it| self.deliver(it, &mut out));
                }
                "reversed" => {
                    let now = std::mem::take(&mut self.world.packets);
                    now.into_iter().rev().for_each(|packet| self.deliver(packet, &mut out));
                }
                "" => self.deliver_all(&mut out),
                number => {
                    let now: Vec<_> = self.world.packets.drain(..number.parse::<usize>()?).collect();
                    now.into_iter().for_each(|packet| self.deliver(packet, &mut out));
                }
            },
            "write" => self.world.write(&first, second.as_bytes()),
            "cut" => {
                self.cut.insert(node()?);
                for name in self.world.claims.keys().cloned().collect::<Vec<_>>() {
                    self.world.disconnect(&name, node()?);
                }
            }
            "heal" => {
                self.cut.remove(&node()?);
                for name in self.world.claims.keys().cloned().collect::<Vec<_>>() {
                    self.world.connect(&name, node()?);
                }
            }
            "lose" => self.world.packets.clear(),
            "crash" => self.world.crash(node()?, 0),
            "restart" => {
                self.world.restart(node()?);
                for name in self.world.claims.keys().cloned().collect::<Vec<_>>() {
                    self.world.connect(&name, node()?);
                }
            }
            "kill" => drop(self.world.claims.remove(&first)),
            "campaign" => self.world.step_proposer(&first, ProposerEvent::CampaignAgain),
            "tick" => self.world.step_proposer(&first, ProposerEvent::Tick),
            "unreadable" => drop(self.world.unreadable.insert(node()?)),
            "readable" => drop(self.world.unreadable.remove(&node()?)),
            "hold" => self.world.held = Some(VecDeque::new()),
            "arrive" | "fail" => {
                let fetch = self.world.first_held().ok_or("nothing is under way")?;
                match command.name.as_str() {
                    "arrive" => self.world.fetch(fetch),
                    _ => self.world.fail_fetch(fetch),
                }
            }
            "status" => out = self.status(),
            other => return Err(format!("unknown command {other}").into()),
        }
        self.tell(&mut out);
        Ok(out)
    }
}

fn describe_history(history: &TermHistory) -> String {
    let lines: Vec<String> =
        history.lines().iter().map(|line| format!("{}@{}", line.term, line.lsn)).collect();
    lines.join(",")
}

fn describe(packet: &Packet) -> String {
    match packet {
        Packet::ToAcceptor { proposer, node, message, .. } => {
            let said = match message {
                ProposerMessage::Greeting(it) => {
                    format!("greeting, configuration {}", it.configuration.generation.0)
                }
                ProposerMessage::VoteRequest(it) => format!("vote for me in term {}?", it.term),
                ProposerMessage::Elected(it) => format!(
                    "elected in term {}, history {}, WAL will come from {}",
                    it.term,
                    describe_history(&it.history),
                    it.start_streaming_at
                ),
                ProposerMessage::AppendRequest(it) => format!(
                    "append in term {} at {} {:?}, commit {}",
                    it.term,
                    it.begin_lsn,
                    String::from_utf8_lossy(&it.wal),
                    it.commit_lsn
                ),
            };
            format!("{proposer} → {node}: {said}")
        }
        Packet::ToProposer { proposer, node, message } => {
            let said = match message {
                AcceptorMessage::Greeting(it) => {
                    format!("greeting, term {}, configuration {}", it.term, it.configuration.generation.0)
                }
                AcceptorMessage::VoteResponse(it) => format!(
                    "{} vote in term {}, flush {}, history {}",
                    if it.vote_given { "my" } else { "no" },
                    it.term,
                    it.flush_lsn,
                    describe_history(&it.history)
                ),
                AcceptorMessage::AppendResponse(it) => {
                    format!("term {}, flushed {}, commit {}", it.term, it.flush_lsn, it.commit_lsn)
                }
            };
            format!("{node} → {proposer}: {said}")
        }
    }
}

fn describe_happening(happening: &Happening) -> String {
    match happening {
        Happening::Truncated { node, to } => format!("{node} cuts its WAL back to {to}"),
        Happening::Refused { node, why } => format!("{node} refuses: {why}"),
        Happening::Dropped { proposer, node, why } => format!("{proposer} gives up on {node}: {why}"),
        Happening::Fetched { proposer, node, source, begin, end } => {
            format!("{proposer} reads {begin} to {end} from {source} for {node}")
        }
        Happening::Fetching { proposer, node, source } => {
            format!("{proposer} begins to read from {source} for {node}")
        }
        Happening::NotFetched { proposer, node, source } => {
            format!("{proposer} cannot read from {source} for {node}")
        }
        Happening::Established { proposer, term, start_lsn } => {
            format!("{proposer} is established in term {term} at {start_lsn}")
        }
        Happening::Committed { commit_lsn } => format!("committed: {commit_lsn}"),
        Happening::Fenced { proposer, term } => format!("{proposer} is fenced by term {term}"),
        Happening::Reconfigured { proposer, generation } => {
            format!("{proposer} goes on in configuration {generation}")
        }
    }
}

#[test]
fn scripts() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/testscripts");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let mut scripts = Scripts { world: World::new(3), cut: BTreeSet::new() };
        goldenscript::run(&mut scripts, entry.unwrap().path()).unwrap();
        count += 1;
    }
    assert!(count >= 8, "only {count} scripts");
}
