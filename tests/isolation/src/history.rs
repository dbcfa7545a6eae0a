//! What was done and seen.

/// One transaction, as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub operations: Vec<Operation>,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `number` is appended by nobody else to any list.
    Append {
        list: u32,
        number: u64,
    },
    Read {
        list: u32,
        numbers: Vec<u64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    Aborted,
    /// COMMIT was sent and no answer came. If anybody saw what it wrote, it was committed.
    Unknown,
}

impl Transaction {
    /// Numbers it appended to the list, in order.
    pub fn appends_to(&self, asked: u32) -> impl Iterator<Item = u64> + '_ {
        self.operations.iter().filter_map(move |operation| match operation {
            Operation::Append { list, number } if *list == asked => Some(*number),
            Operation::Append { .. } | Operation::Read { .. } => None,
        })
    }

    pub fn reads(&self) -> impl Iterator<Item = (u32, &[u64])> {
        self.operations.iter().filter_map(|operation| match operation {
            Operation::Read { list, numbers } => Some((*list, numbers.as_slice())),
            Operation::Append { .. } => None,
        })
    }
}
