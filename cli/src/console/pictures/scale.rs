//! From positions to places on paper: in order, and as far apart as they are, but for neighbours too close to be told apart,
//! which are pushed apart.

use std::collections::BTreeMap;

pub struct Scale<T>(BTreeMap<T, f64>);

impl<T: Ord + Copy> Scale<T> {
    /// Places from 0 to `length` for `marks`, of which `value` says how far along they are.
    pub fn new(
        marks: impl IntoIterator<Item = T>,
        length: f64,
        gap: f64,
        value: impl Fn(T) -> f64,
    ) -> Scale<T> {
        let mut places: BTreeMap<T, f64> = marks.into_iter().map(|mark| (mark, value(mark))).collect();
        let first = places.values().next().copied().unwrap_or_default();
        let span = places.values().next_back().map_or(0.0, |last| last - first);
        // So many gaps as there is room for.
        let gap = gap.min(length / places.len().max(1) as f64);
        let mut least = 0.0;
        for place in places.values_mut() {
            let true_to_scale = if span > 0.0 { (*place - first) / span * length } else { 0.0 };
            *place = true_to_scale.max(least);
            least = *place + gap;
        }
        // What was pushed beyond the end has all of it pressed together.
        let last = places.values().next_back().copied().unwrap_or_default();
        if last > length {
            places.values_mut().for_each(|place| *place *= length / last);
        }
        Scale(places)
    }

    /// Of a mark; of anything else, the place of the mark before it.
    pub fn at(&self, mark: T) -> f64 {
        self.0.range(..=mark).next_back().map_or(0.0, |(_, place)| *place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_order_apart_and_within() {
        let marks = [0_u64, 1, 2, 500, 1000];
        let scale = Scale::new(marks, 100.0, 5.0, |mark| mark as f64);
        let places = marks.map(|mark| scale.at(mark));
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 5.0 - 1e-9), "{places:?}");
        assert!(places[0] == 0.0 && (places[3] - 50.0).abs() < 1e-9 && places[4] <= 100.0, "{places:?}");
        assert_eq!(scale.at(3), places[2]);
    }

    #[test]
    fn too_many_marks_share_what_room_there_is() {
        let scale = Scale::new(0..1000_u64, 100.0, 5.0, |mark| mark as f64);
        let places: Vec<f64> = (0..1000).map(|mark| scale.at(mark)).collect();
        assert!(places.windows(2).all(|pair| pair[1] > pair[0]));
        assert!(places.iter().all(|place| (0.0..=100.0 + 1e-9).contains(place)));
        // One mark, or none, is no reason to divide by nothing.
        assert_eq!(Scale::new([7_u64], 100.0, 5.0, |mark| mark as f64).at(7), 0.0);
        assert_eq!(Scale::new([], 100.0, 5.0, |mark: u64| mark as f64).at(7), 0.0);
    }
}
