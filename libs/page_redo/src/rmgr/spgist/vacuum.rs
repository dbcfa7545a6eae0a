//! What vacuum does to pages of SP-GiST indexes.

use types::PgVersion;

use super::super::Record;
use super::tuple::{self, Redirection, State};
use super::{INVALID_OFFSET, Source};
use crate::error::Fault;
use crate::page::Page;

/// `spgRedoVacuumLeaf`
pub(super) fn leaf(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let dead_count = main.u16("number of dead tuples")?;
    let placeholder_count = main.u16("number of placeholders")?;
    let move_count = main.u16("number of moved tuples")?;
    let chain_count = main.u16("number of chain links")?;
    Source::read(&mut main)?;
    let mut offsets = |count: u16| main.u16_array(count.into(), "offsets of tuples");
    let (dead, placeholders) = (offsets(dead_count)?, offsets(placeholder_count)?);
    let (move_from, move_to) = (offsets(move_count)?, offsets(move_count)?);
    let (chain_from, chain_to) = (offsets(chain_count)?, offsets(chain_count)?);

    tuple::bury(page, &dead, (State::Dead, State::Dead), Redirection::NONE)?;
    tuple::bury(page, &placeholders, (State::Placeholder, State::Placeholder), Redirection::NONE)?;
    for (from, to) in move_from.iter().zip(&move_to) {
        let (source, target) = (page.item_id(*from)?, page.item_id(*to)?);
        page.set_item_id(*from, target)?;
        page.set_item_id(*to, source)?;
    }
    tuple::bury(page, &move_from, (State::Placeholder, State::Placeholder), Redirection::NONE)?;
    for (leaf, next) in chain_from.iter().zip(&chain_to) {
        tuple::set_next_in_chain(page, *leaf, *next)?;
    }
    Ok(())
}

/// `spgRedoVacuumRoot`: the root is a leaf.
pub(super) fn root(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let count = main.u16("number of deleted tuples")?;
    main.skip(2, "padding")?;
    Source::read(&mut main)?;
    page.delete_items(&main.u16_array(count.into(), "offsets of deleted tuples")?)
}

/// `spgRedoVacuumRedirect`: redirections that nobody needs become placeholders, and placeholders at the end go.
pub(super) fn redirect(page: &mut Page<'_>, record: &Record<'_>) -> Result<(), Fault> {
    let mut main = record.main();
    let count = main.u16("number of redirections")?;
    let first_placeholder = main.u16("first placeholder to remove")?;
    main.skip(4, "newest xid of a redirection")?;
    match record.version {
        PgVersion::V15 => {}
        PgVersion::V17 => main.skip(2, "kind of relation")?,
    }
    for offset in main.u16_array(count.into(), "offsets of redirections")? {
        tuple::redirect_to_placeholder(page, offset)?;
    }
    tuple::change_redirections(page, -i32::from(count))?;
    tuple::change_placeholders(page, i32::from(count))?;
    if first_placeholder == INVALID_OFFSET {
        return Ok(());
    }
    let removed: Vec<_> = (first_placeholder..=page.max_offset()).collect();
    tuple::change_placeholders(page, -(removed.len() as i32))?;
    page.delete_items(&removed)
}
