//! What must not be found in a history.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use crate::graph::{Arrow, Cycle, Dependencies};
use crate::history::{Operation, Outcome, Transaction};

/// Transactions are named by their place in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// Committed, and not in the list at the end.
    LostAppend {
        list: u32,
        number: u64,
        writer: usize,
    },
    /// What an aborted transaction wrote was seen (G1a).
    AbortedRead {
        list: u32,
        number: u64,
        writer: usize,
        reader: usize,
    },
    /// What a transaction wrote over itself later was seen (G1b).
    IntermediateRead {
        list: u32,
        number: u64,
        writer: usize,
        reader: usize,
    },
    /// Nobody wrote it.
    Garbage {
        list: u32,
        number: u64,
        reader: usize,
    },
    Duplicate {
        list: u32,
        number: u64,
        reader: usize,
    },
    /// Two reads show two orders.
    OtherOrder {
        list: u32,
        reader: usize,
    },
    /// A transaction did not see what it had written itself.
    Forgotten {
        list: u32,
        reader: usize,
    },
    Cycle {
        name: Cycle,
        transactions: Vec<usize>,
    },
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Anomaly::LostAppend { list, number, writer } => {
                write!(f, "lost append: {number} of transaction {writer} is not in list {list}")
            }
            Anomaly::AbortedRead { list, number, writer, reader } => {
                write!(f, "G1a: transaction {reader} read {number} in list {list}, of the aborted {writer}")
            }
            Anomaly::IntermediateRead { list, number, writer, reader } => {
                write!(
                    f,
                    "G1b: transaction {reader} read list {list} up to {number}, in the midst of {writer}"
                )
            }
            Anomaly::Garbage { list, number, reader } => {
                write!(f, "garbage: transaction {reader} read {number} in list {list}, which nobody wrote")
            }
            Anomaly::Duplicate { list, number, reader } => {
                write!(f, "duplicate: transaction {reader} read {number} twice in list {list}")
            }
            Anomaly::OtherOrder { list, reader } => {
                write!(f, "other order: transaction {reader} read list {list} otherwise than another")
            }
            Anomaly::Forgotten { list, reader } => {
                write!(f, "forgotten: transaction {reader} read list {list} without what it had appended")
            }
            Anomaly::Cycle { name, transactions } => write!(f, "{name}: transactions {transactions:?}"),
        }
    }
}

/// All that is wrong with a history. `at_end`: the lists once nobody writes any more.
pub fn check(history: &[Transaction], at_end: &BTreeMap<u32, Vec<u64>>) -> Vec<Anomaly> {
    let mut checker =
        Checker { history, writers: writers(history), orders: BTreeMap::new(), found: Vec::new() };
    checker.reads();
    checker.orders(at_end);
    checker.lost(at_end);
    checker.cycles();
    checker.found
}

struct Checker<'a> {
    history: &'a [Transaction],
    /// Who appended the number.
    writers: HashMap<(u32, u64), usize>,
    /// Of each list the longest that was read.
    orders: BTreeMap<u32, Vec<u64>>,
    found: Vec<Anomaly>,
}

fn writers(history: &[Transaction]) -> HashMap<(u32, u64), usize> {
    let mut writers = HashMap::new();
    for (writer, transaction) in history.iter().enumerate() {
        for operation in &transaction.operations {
            if let Operation::Append { list, number } = operation {
                let twice = writers.insert((*list, *number), writer);
                assert!(
                    twice.is_none(),
                    "{number} is appended twice to list {list}: no history for this checker"
                );
            }
        }
    }
    writers
}

impl<'a> Checker<'a> {
    /// What a transaction saw that aborted, or may have, proves nothing: it could not rely on it.
    fn committed(&self) -> impl Iterator<Item = (usize, &'a Transaction)> + use<'a> {
        self.history.iter().enumerate().filter(|(_, transaction)| transaction.outcome == Outcome::Committed)
    }

    /// Each read by itself.
    fn reads(&mut self) {
        for (reader, transaction) in self.committed() {
            for (list, numbers) in transaction.reads() {
                let mut seen = HashSet::new();
                for number in numbers.iter().copied() {
                    if !seen.insert(number) {
                        self.found.push(Anomaly::Duplicate { list, number, reader });
                    }
                    match self.writers.get(&(list, number)).copied() {
                        None => self.found.push(Anomaly::Garbage { list, number, reader }),
                        Some(writer) if self.history[writer].outcome == Outcome::Aborted => {
                            self.found.push(Anomaly::AbortedRead { list, number, writer, reader });
                        }
                        Some(_) => {}
                    }
                }
                self.intermediate(reader, list, numbers);
            }
            self.own_appends(reader, transaction);
        }
    }

    fn intermediate(&mut self, reader: usize, list: u32, numbers: &[u64]) {
        let Some(number) = numbers.last().copied() else { return };
        let Some(writer) = self.writers.get(&(list, number)).copied().filter(|writer| *writer != reader)
        else {
            return;
        };
        if self.history[writer].appends_to(list).last() != Some(number) {
            self.found.push(Anomaly::IntermediateRead { list, number, writer, reader });
        }
    }

    fn own_appends(&mut self, reader: usize, transaction: &Transaction) {
        let mut own: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for operation in &transaction.operations {
            match operation {
                Operation::Append { list, number } => own.entry(*list).or_default().push(*number),
                Operation::Read { list, numbers } => {
                    if !numbers.ends_with(own.get(list).map_or(&[], Vec::as_slice)) {
                        self.found.push(Anomaly::Forgotten { list: *list, reader });
                    }
                }
            }
        }
    }

    /// Every read must be a beginning of the longest.
    fn orders(&mut self, at_end: &BTreeMap<u32, Vec<u64>>) {
        let reads: Vec<(usize, u32, &[u64])> = self
            .committed()
            .flat_map(|(reader, transaction)| transaction.reads().map(move |(list, it)| (reader, list, it)))
            .collect();
        self.orders.clone_from(at_end);
        for (_, list, numbers) in &reads {
            let longest = self.orders.entry(*list).or_default();
            if numbers.len() > longest.len() {
                *longest = numbers.to_vec();
            }
        }
        let others = reads.iter().filter(|(_, list, numbers)| !self.orders[list].starts_with(numbers));
        self.found
            .extend(others.map(|(reader, list, _)| Anomaly::OtherOrder { list: *list, reader: *reader }));
    }

    fn lost(&mut self, at_end: &BTreeMap<u32, Vec<u64>>) {
        let present: HashSet<(u32, u64)> = at_end
            .iter()
            .flat_map(|(list, numbers)| numbers.iter().map(move |number| (*list, *number)))
            .collect();
        let mut lost: Vec<Anomaly> = Vec::new();
        for ((list, number), writer) in &self.writers {
            let committed = self.history[*writer].outcome == Outcome::Committed;
            if committed && !present.contains(&(*list, *number)) {
                lost.push(Anomaly::LostAppend { list: *list, number: *number, writer: *writer });
            }
        }
        self.found.extend(lost);
    }

    fn cycles(&mut self) {
        let mut dependencies = Dependencies::default();
        for (list, order) in &self.orders {
            let writers: Vec<Option<usize>> =
                order.iter().map(|number| self.writers.get(&(*list, *number)).copied()).collect();
            for pair in writers.windows(2) {
                if let [Some(first), Some(second)] = pair {
                    dependencies.add(*first, *second, Arrow::WriteWrite);
                }
            }
            for (reader, transaction) in self.committed() {
                let of_list = transaction.reads().filter(|(read, _)| read == list);
                for (_, numbers) in of_list.filter(|(_, numbers)| order.starts_with(numbers)) {
                    if let Some(Some(writer)) = numbers.len().checked_sub(1).map(|last| writers[last]) {
                        dependencies.add(writer, reader, Arrow::WriteRead);
                    }
                    if let Some(Some(next)) = writers.get(numbers.len()) {
                        dependencies.add(reader, *next, Arrow::ReadWrite);
                    }
                }
            }
        }
        let cycles = dependencies.cycles().into_iter();
        self.found.extend(cycles.map(|(name, transactions)| Anomaly::Cycle { name, transactions }));
    }
}
