//! page_redo
