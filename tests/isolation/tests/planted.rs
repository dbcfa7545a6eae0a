//! Each kind of anomaly, planted in a history, is found and called by its name; histories without any are clean.

use std::collections::BTreeMap;

use isolation::Operation::{Append, Read};
use isolation::Outcome::{Aborted, Committed, Unknown};
use isolation::{Anomaly, Cycle, Operation, Outcome, Transaction, check};
use proptest::prelude::*;

const X: u32 = 1;
const Y: u32 = 2;

fn transaction(outcome: Outcome, operations: &[Operation]) -> Transaction {
    Transaction { operations: operations.to_vec(), outcome }
}

fn committed(operations: &[Operation]) -> Transaction {
    transaction(Committed, operations)
}

fn append(list: u32, number: u64) -> Operation {
    Append { list, number }
}

fn read(list: u32, numbers: &[u64]) -> Operation {
    Read { list, numbers: numbers.to_vec() }
}

fn found(history: &[Transaction], x: &[u64], y: &[u64]) -> Vec<Anomaly> {
    check(history, &BTreeMap::from([(X, x.to_vec()), (Y, y.to_vec())]))
}

fn cycle(name: Cycle, transactions: &[usize]) -> Anomaly {
    Anomaly::Cycle { name, transactions: transactions.to_vec() }
}

#[test]
fn one_after_the_other_is_clean() {
    let history = [
        committed(&[append(X, 1), read(X, &[1])]),
        committed(&[read(X, &[1]), append(X, 2), append(Y, 3), read(X, &[1, 2])]),
        transaction(Aborted, &[append(X, 4), read(X, &[9, 9])]),
        transaction(Unknown, &[append(X, 5)]),
        transaction(Unknown, &[append(X, 6)]),
        committed(&[read(X, &[1, 2, 5]), read(Y, &[3])]),
    ];
    assert_eq!(found(&history, &[1, 2, 5], &[3]), []);
}

#[test]
fn a_lost_append_is_found() {
    let history = [committed(&[append(X, 1)]), committed(&[append(X, 2)])];
    assert_eq!(found(&history, &[2], &[]), [Anomaly::LostAppend { list: X, number: 1, writer: 0 }]);
}

#[test]
fn reads_that_cannot_be_are_found() {
    let history = [
        transaction(Aborted, &[append(X, 1)]),
        committed(&[append(Y, 2), append(Y, 3)]),
        committed(&[read(X, &[1])]),
        committed(&[read(Y, &[2])]),
    ];
    let aborted = Anomaly::AbortedRead { list: X, number: 1, writer: 0, reader: 2 };
    let intermediate = Anomaly::IntermediateRead { list: Y, number: 2, writer: 1, reader: 3 };
    let all = found(&history, &[], &[2, 3]);
    assert!(all.contains(&aborted) && all.contains(&intermediate), "{all:?}");

    let history = [committed(&[append(X, 1)]), committed(&[read(X, &[1, 1, 7])])];
    let all = found(&history, &[1], &[]);
    assert!(all.contains(&Anomaly::Duplicate { list: X, number: 1, reader: 1 }), "{all:?}");
    assert!(all.contains(&Anomaly::Garbage { list: X, number: 7, reader: 1 }), "{all:?}");

    let history = [committed(&[append(X, 1), read(X, &[])])];
    assert!(found(&history, &[1], &[]).contains(&Anomaly::Forgotten { list: X, reader: 0 }));
}

#[test]
fn two_orders_are_found() {
    let history = [committed(&[append(X, 1)]), committed(&[append(X, 2)]), committed(&[read(X, &[2])])];
    assert!(found(&history, &[1, 2], &[]).contains(&Anomaly::OtherOrder { list: X, reader: 2 }));
}

#[test]
fn g0_is_called_so() {
    let history = [committed(&[append(X, 1), append(Y, 2)]), committed(&[append(X, 3), append(Y, 4)])];
    assert_eq!(found(&history, &[1, 3], &[4, 2]), [cycle(Cycle::G0, &[0, 1])]);
}

#[test]
fn g1c_is_called_so() {
    let history = [committed(&[append(X, 1), read(Y, &[2])]), committed(&[append(Y, 2), read(X, &[1])])];
    assert_eq!(found(&history, &[1], &[2]), [cycle(Cycle::G1c, &[0, 1])]);
}

#[test]
fn g_single_is_called_so() {
    // The second sees one of the two writes of the first.
    let history = [committed(&[append(X, 1), append(Y, 2)]), committed(&[read(X, &[1]), read(Y, &[])])];
    assert_eq!(found(&history, &[1], &[2]), [cycle(Cycle::GSingle, &[0, 1])]);
    // A lost update: both read nothing and append.
    let history = [committed(&[read(X, &[]), append(X, 1)]), committed(&[read(X, &[]), append(X, 2)])];
    assert_eq!(found(&history, &[1, 2], &[]), [cycle(Cycle::GSingle, &[0, 1])]);
}

#[test]
fn g2_is_called_so() {
    // Write skew.
    let history = [committed(&[read(X, &[]), append(Y, 1)]), committed(&[read(Y, &[]), append(X, 2)])];
    assert_eq!(found(&history, &[2], &[1]), [cycle(Cycle::G2, &[0, 1])]);
}

/// Transactions carried out one after the other, some of them without effect.
fn serial(plan: &[(Vec<(u32, bool)>, u8)]) -> (Vec<Transaction>, BTreeMap<u32, Vec<u64>>) {
    let mut lists: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let (mut history, mut number) = (Vec::new(), 0);
    for (steps, fate) in plan {
        let mut inside = lists.clone();
        let mut operations = Vec::new();
        for (list, writes) in steps {
            let numbers = inside.entry(*list).or_default();
            if *writes {
                number += 1;
                numbers.push(number);
                operations.push(append(*list, number));
            } else {
                operations.push(read(*list, numbers));
            }
        }
        let (outcome, counts) =
            [(Committed, true), (Committed, true), (Aborted, false), (Unknown, true), (Unknown, false)]
                [usize::from(fate % 5)];
        if counts {
            lists = inside;
        }
        history.push(Transaction { operations, outcome });
    }
    (history, lists)
}

proptest! {
    #[test]
    fn what_was_serial_is_clean(
        plan in proptest::collection::vec((proptest::collection::vec((0u32..4, any::<bool>()), 1..5), any::<u8>()), 1..40)
    ) {
        let (history, at_end) = serial(&plan);
        prop_assert_eq!(check(&history, &at_end), vec![]);
    }

    /// A committed append that is taken out of the end is missed.
    #[test]
    fn what_is_taken_away_is_missed(
        plan in proptest::collection::vec((proptest::collection::vec((0u32..2, any::<bool>()), 1..4), Just(0u8)), 1..20)
    ) {
        let (history, mut at_end) = serial(&plan);
        let Some(last) = at_end.values_mut().find_map(Vec::pop) else { return Ok(()) };
        let is_it = |anomaly: &Anomaly| matches!(anomaly, Anomaly::LostAppend { number, .. } if *number == last);
        prop_assert!(check(&history, &at_end).iter().any(is_it));
    }
}
