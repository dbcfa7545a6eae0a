//! A layer map: keys from left to right, LSNs from below to above. Keys are so many, and most of them never used, that only
//! those are told apart at which some layer begins or ends.

use maud::{Markup, html};
use pageserver_api::layers::{LayerInfo, LayerKind, LayerMapInfo};
use types::{Key, KeyKind, Lsn, SlruKind};

use super::scale::Scale;
use crate::output::bytes;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
/// For LSNs.
const LEFT: f64 = 110.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;
/// Of a row of text.
const LINE: f64 = 16.0;
/// So that each layer can be seen.
const LEAST: f64 = 3.0;
/// The largest of them; a picture of more is a grey one.
const MOST: usize = 2000;

pub fn picture(map: &LayerMapInfo) -> Markup {
    let mut layers: Vec<&LayerInfo> = map.historic_layers.iter().collect();
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.layer_file_size));
    layers.truncate(MOST);
    // Images lie on the deltas that they are made of.
    layers.sort_by_key(|layer| layer.kind == LayerKind::Image);
    let (columns, keys) = columns(&layers);
    let rows = rows(map, &layers);
    let bottom = HEIGHT - BOTTOM;
    let y = |lsn: Lsn| bottom - rows.at(lsn);
    html! {
        div.scroll tabindex="0" role="region" aria-label="Layer map" {
            svg.layers viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } width=(WIDTH) height=(HEIGHT) role="img" aria-label="Layers by keys and LSNs; the table below says the same" {
                rect.paper x=(LEFT) y=(TOP) width=(WIDTH - LEFT) height=(bottom - TOP) {}
                @for layer in &map.in_memory_layers {
                    (rectangle("memory", LEFT, WIDTH, y(layer.lsn_end.unwrap_or(map.last_record_lsn)), y(layer.lsn_start),
                        &format!("in memory, from {}, {}", layer.lsn_start, bytes(layer.bytes))))
                }
                @for layer in &layers {
                    @let (left, right) = (keys.at(layer.key_start), keys.at(layer.key_end));
                    @let (top, low) = match layer.kind { LayerKind::Delta => (y(layer.lsn_end), y(layer.lsn_start)), LayerKind::Image => (y(layer.lsn_start) - 2.0, y(layer.lsn_start) + 2.0) };
                    (rectangle(class(layer), LEFT + left, LEFT + right, top, low, &in_words(layer)))
                }
                @for (lsn, place) in labels(map, &layers, y) {
                    text.small x=(LEFT - 8.0) y=(number(place + 4.0)) text-anchor="end" { (lsn) }
                }
                text.small x=(LEFT) y=(HEIGHT - 8.0) { "keys → (" (columns) " bounds of layers, evenly spaced)" }
            }
        }
        ul.legend {
            li { (swatch("delta")) "delta: all changes" }
            li { (swatch("image")) "image: whole pages at one LSN" }
            li { (swatch("memory")) "in memory, not yet written" }
            li { (swatch("delta remote")) "in object storage alone" }
        }
    }
}

/// How many keys there are at which a layer begins or ends, and where they are.
fn columns(layers: &[&LayerInfo]) -> (usize, Scale<Key>) {
    let mut bounds: Vec<Key> = layers.iter().flat_map(|layer| [layer.key_start, layer.key_end]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let rank = |key: Key| bounds.binary_search(&key).unwrap_or_default() as f64;
    (bounds.len(), Scale::new(bounds.iter().copied(), WIDTH - LEFT, 0.0, rank))
}

fn rows(map: &LayerMapInfo, layers: &[&LayerInfo]) -> Scale<Lsn> {
    let of_files = layers.iter().flat_map(|layer| match layer.kind {
        LayerKind::Delta => [layer.lsn_start, layer.lsn_end],
        LayerKind::Image => [layer.lsn_start, layer.lsn_start],
    });
    let in_memory = map.in_memory_layers.iter().flat_map(|layer| [Some(layer.lsn_start), layer.lsn_end]);
    let marks = of_files.chain(in_memory.flatten()).chain([map.last_record_lsn]);
    Scale::new(marks, HEIGHT - TOP - BOTTOM, 8.0, |lsn: Lsn| lsn.0 as f64)
}

/// As many LSNs as can be read.
fn labels(map: &LayerMapInfo, layers: &[&LayerInfo], y: impl Fn(Lsn) -> f64) -> Vec<(Lsn, f64)> {
    let mut lsns: Vec<Lsn> =
        layers.iter().map(|layer| layer.lsn_start).chain([map.last_record_lsn]).collect();
    lsns.sort_unstable();
    lsns.dedup();
    let mut labels: Vec<(Lsn, f64)> = Vec::new();
    for lsn in lsns.into_iter().rev() {
        let place = y(lsn);
        if labels.last().is_none_or(|(_, above)| place - above >= LINE) {
            labels.push((lsn, place));
        }
    }
    labels
}

fn class(layer: &LayerInfo) -> &'static str {
    match (layer.kind, layer.local) {
        (LayerKind::Delta, true) => "delta",
        (LayerKind::Delta, false) => "delta remote",
        (LayerKind::Image, true) => "image",
        (LayerKind::Image, false) => "image remote",
    }
}

fn rectangle(class: &str, left: f64, right: f64, top: f64, bottom: f64, words: &str) -> Markup {
    let (width, height) = ((right - left).max(LEAST), (bottom - top).max(LEAST));
    html! {
        rect class=(class) x=(number(left)) y=(number(top)) width=(number(width)) height=(number(height)) { title { (words) } }
    }
}

fn swatch(class: &str) -> Markup {
    html! {
        svg.layers.swatch viewBox="0 0 22 14" width="22" height="14" aria-hidden="true" focusable="false" {
            rect class=(class) x="1" y=(if class == "image" { 5 } else { 1 }) width="20" height=(if class == "image" { 4 } else { 12 }) {}
        }
    }
}

fn in_words(layer: &LayerInfo) -> String {
    let lsns = match layer.kind {
        LayerKind::Delta => format!("delta, {} to {}", layer.lsn_start, layer.lsn_end),
        LayerKind::Image => format!("image at {}", layer.lsn_start),
    };
    let keys = format!("{} to {}", key_in_words(&layer.key_start), key_in_words(&layer.key_end));
    format!("{lsns}, {keys}, {}", bytes(layer.layer_file_size))
}

/// As people speak of what is stored.
pub fn key_in_words(key: &Key) -> String {
    let [one, two, three] = key.fields();
    if *key == Key::MIN {
        return "the beginning".to_owned();
    }
    match key.kind() {
        Some(KeyKind::RelBlock) => format!("relation {one}/{two}/{three} block {}", key.block()),
        Some(KeyKind::RelSize) => format!("size of relation {one}/{two}/{three}"),
        Some(KeyKind::SlruBlock) => {
            let slru = u8::try_from(one).ok().and_then(SlruKind::from_number);
            format!("{} block {}", slru.map_or("SLRU", SlruKind::directory), key.block())
        }
        Some(kind) => format!("{kind:?}"),
        None => "the end".to_owned(),
    }
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use pageserver_api::layers::{MemoryLayerInfo, MemoryLayerKind};
    use types::{Fork, RelTag};

    use super::*;

    fn layer(kind: LayerKind, keys: [Key; 2], lsns: [u64; 2], local: bool) -> LayerInfo {
        LayerInfo {
            kind,
            layer_file_name: "name".into(),
            layer_file_size: 4096,
            key_start: keys[0],
            key_end: keys[1],
            lsn_start: Lsn(lsns[0]),
            lsn_end: Lsn(lsns[1]),
            local,
            uploaded: true,
        }
    }

    #[test]
    fn every_layer_is_a_rectangle_with_words() {
        let rel = RelTag { spc: 1663, db: 5, rel: 16_384, fork: Fork::Main };
        let middle = Key::rel_block(rel, 42);
        let map = LayerMapInfo {
            disk_consistent_lsn: Lsn(300),
            last_record_lsn: Lsn(400),
            in_memory_layers: vec![MemoryLayerInfo {
                kind: MemoryLayerKind::Open,
                lsn_start: Lsn(301),
                lsn_end: None,
                bytes: 10,
            }],
            historic_layers: vec![
                layer(LayerKind::Delta, [Key::MIN, Key::MAX], [100, 200], false),
                layer(LayerKind::Delta, [middle, Key::MAX], [200, 300], true),
                layer(LayerKind::Image, [Key::MIN, middle], [200, 201], true),
            ],
        };
        let text = picture(&map).into_string();
        let drawn = text.split("<ul").next().unwrap();
        assert_eq!(drawn.matches("<title>").count(), 4, "{drawn}");
        for words in [
            "relation 1663/5/16384 block 42",
            "delta, 0/64 to 0/C8",
            "image at 0/C8",
            "in memory, from 0/12D",
        ] {
            assert!(drawn.contains(words), "{words}: {drawn}");
        }
        // The half of the keys, and the newer above the older.
        let half = number(LEFT + (WIDTH - LEFT) / 2.0);
        assert!(drawn.contains(&format!("class=\"delta\" x=\"{half}\"")), "{half}: {drawn}");
    }

    #[test]
    fn a_timeline_without_layers_is_drawn_too() {
        let map = LayerMapInfo {
            disk_consistent_lsn: Lsn(1),
            last_record_lsn: Lsn(1),
            in_memory_layers: Vec::new(),
            historic_layers: Vec::new(),
        };
        assert!(picture(&map).into_string().contains("<svg"));
    }
}
