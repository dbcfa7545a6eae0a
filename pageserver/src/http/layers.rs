//! The layers of a timeline.

use axum::extract::State;
use http_server::extract::{Json, Path};
use http_server::{ApiError, TimelinePath};
use layer_map::Coverage;
use pageserver_api::layers::{LayerInfo, LayerKind, LayerMapInfo, MemoryLayerInfo, MemoryLayerKind};

use super::ApiState;
use super::timelines::timeline;
use crate::storage::{ListedFile, ListedMemory};

/// What a timeline consists of
///
/// Its own layers, in memory and in files, without those of its ancestors. Nothing is fetched for that.
#[utoipa::path(get, path = "/layer", operation_id = "list_layers", tag = "Operation", params(TimelinePath),
    responses((status = 200, description = "Rectangles of the key × LSN plane.", body = LayerMapInfo), ApiError))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Path(path): Path<TimelinePath>,
) -> Result<Json<LayerMapInfo>, ApiError> {
    let timeline = timeline(&state, path)?;
    let layers = timeline.layers();
    Ok(Json(LayerMapInfo {
        disk_consistent_lsn: layers.durable,
        last_record_lsn: timeline.last_record_lsn(),
        in_memory_layers: layers.memory.into_iter().map(in_memory).collect(),
        historic_layers: layers.files.into_iter().map(file).collect(),
    }))
}

fn in_memory(layer: ListedMemory) -> MemoryLayerInfo {
    let kind = if layer.end.is_some() { MemoryLayerKind::Frozen } else { MemoryLayerKind::Open };
    MemoryLayerInfo { kind, lsn_start: layer.start, lsn_end: layer.end, bytes: layer.bytes }
}

fn file(layer: ListedFile) -> LayerInfo {
    LayerInfo {
        kind: match layer.extent.coverage {
            Coverage::Delta => LayerKind::Delta,
            Coverage::Image => LayerKind::Image,
        },
        layer_file_name: layer.file,
        layer_file_size: layer.bytes,
        key_start: layer.extent.keys.start,
        key_end: layer.extent.keys.end,
        lsn_start: layer.extent.lsns.start,
        lsn_end: layer.extent.lsns.end,
        local: layer.is_local,
        uploaded: layer.is_uploaded,
    }
}
