//! Medians, and when two numbers count as equal.

/// Two runs of the same thing may differ by this part; if they differ by more, the machine was not quiet enough
/// for a comparison to mean anything.
pub const TOLERANCE: f64 = 0.10;

/// Of at least one number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The smallest of at least one number that `part` of them do not exceed.
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (part * sorted.len() as f64).ceil() as usize;
    sorted[index.clamp(1, sorted.len()) - 1]
}

/// How far two numbers are apart, as a part of the larger one.
pub fn difference(one: f64, two: f64) -> f64 {
    let larger = one.max(two);
    if larger > 0.0 { (one - two).abs() / larger } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 3.0, 4.0]), 3.5);
    }

    #[test]
    fn percentiles_are_numbers_that_were_measured() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|part| percentile(&hundred, part)), [1.0, 50.0, 99.0, 100.0]);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn a_difference_is_a_part_of_the_larger_number() {
        assert_eq!(difference(90.0, 100.0), 0.1);
        assert_eq!(difference(100.0, 90.0), 0.1);
        assert_eq!(difference(0.0, 0.0), 0.0);
        assert_eq!(difference(0.0, 5.0), 1.0);
    }
}
