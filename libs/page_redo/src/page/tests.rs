use super::*;

fn empty(special: usize) -> Box<PageBytes> {
    let mut bytes = Box::new([0; BLCKSZ]);
    Page::new(&mut bytes).init(special);
    bytes
}

/// Items of different lengths; each byte is the item's number.
fn filled(count: u8) -> Box<PageBytes> {
    let mut bytes = empty(16);
    let mut page = Page::new(&mut bytes);
    for number in 1..=count {
        let item = vec![number; 10 + number as usize * 8];
        page.add_item(&item, Placement::Insert(u16::from(number))).unwrap();
    }
    bytes
}

/// First byte and length of every item, and that nothing overlaps.
fn items(page: &Page<'_>) -> Vec<(u8, usize)> {
    page.check_pointers().unwrap();
    let ids: Vec<ItemId> = (1..=page.max_offset()).map(|offset| page.item_id(offset).unwrap()).collect();
    let mut stored: Vec<&ItemId> = ids.iter().filter(|id| id.has_storage()).collect();
    stored.sort_by_key(|id| id.offset());
    let mut end = page.upper() as usize;
    for id in stored {
        assert_eq!(id.offset(), end, "items follow each other without a gap");
        end += maxalign(id.length());
    }
    assert_eq!(end, page.special() as usize);
    ids.iter().map(|id| (page.bytes[id.offset()], id.length())).collect()
}

#[test]
fn a_new_page_is_postgres() {
    let bytes = empty(12);
    assert_eq!(bytes[10..24], [0, 0, 24, 0, 0xf0, 0x1f, 0xf0, 0x1f, 4, 0x20, 0, 0, 0, 0]);
    assert!(bytes[24..].iter().all(|byte| *byte == 0));
    let mut zeros = [0; BLCKSZ];
    assert!(Page::new(&mut zeros).is_new());
}

#[test]
fn items_are_inserted_between_others() {
    let mut bytes = filled(3);
    let mut page = Page::new(&mut bytes);
    page.add_item(&[9; 8], Placement::Insert(2)).unwrap();
    assert_eq!(items(&page), [(1, 18), (9, 8), (2, 26), (3, 34)]);
    assert!(page.add_item(&[9; 8], Placement::Insert(6)).is_err());
    assert!(page.add_item(&[9; 8], Placement::Unused(2)).is_err());
    assert!(page.add_item(&[9; 8200], Placement::Insert(1)).is_err());
    page.set_item_id(2, ItemId::UNUSED).unwrap();
    page.set_flag(PD_HAS_FREE_LINES);
    assert_eq!(page.add_item(&[8; 8], Placement::Anywhere), Ok(2));
    assert_eq!(page.add_item(&[8; 8], Placement::Anywhere), Ok(5));
    assert_eq!(page.flags(), 0);
}

#[test]
fn deleting_one_or_many_gives_the_same_items() {
    let mut retail = filled(9);
    let mut page = Page::new(&mut retail);
    for offset in [8, 5, 4, 1] {
        page.delete_item(offset).unwrap();
    }
    let expected = items(&page);
    assert_eq!(expected.iter().map(|item| item.0).collect::<Vec<u8>>(), [2, 3, 6, 7, 9]);

    let mut at_once = filled(9);
    let mut page = Page::new(&mut at_once);
    page.delete_items(&[1, 4, 5, 8]).unwrap();
    assert_eq!(items(&page), expected);
    assert!(page.delete_items(&[1, 2, 6]).is_err());
    page.delete_items(&[1, 2, 3, 4, 5]).unwrap();
    assert_eq!((page.lower(), page.upper()), (24, page.special()));
}

#[test]
fn an_item_may_grow_and_shrink() {
    let mut bytes = filled(5);
    let mut page = Page::new(&mut bytes);
    page.overwrite_item(3, &[7; 100]).unwrap();
    assert_eq!(items(&page), [(1, 18), (2, 26), (7, 100), (4, 42), (5, 50)]);
    page.overwrite_item(1, &[6; 8]).unwrap();
    assert_eq!(items(&page), [(6, 8), (2, 26), (7, 100), (4, 42), (5, 50)]);
    assert!(page.overwrite_item(1, &[6; 8100]).is_err());
    page.delete_item_no_compact(2).unwrap();
    assert_eq!(page.item_id(2), Ok(ItemId::UNUSED));
    page.delete_item_no_compact(5).unwrap();
    assert_eq!(page.max_offset(), 4);
}

#[test]
fn fragmentation_is_repaired() {
    let mut bytes = filled(8);
    let mut page = Page::new(&mut bytes);
    page.set_item_id(2, ItemId::UNUSED).unwrap();
    page.set_item_id(4, ItemId::DEAD).unwrap();
    page.set_item_id(5, ItemId::redirect(6)).unwrap();
    page.set_item_id(8, ItemId::UNUSED).unwrap();
    page.repair_fragmentation().unwrap();
    assert_eq!(page.max_offset(), 7);
    assert_eq!(page.flags(), PD_HAS_FREE_LINES);
    assert_eq!(items(&page).iter().filter(|item| item.1 > 0).count(), 4);
    assert_eq!(page.item(7).unwrap(), [7; 66]);

    for offset in [1, 2, 3, 6, 7] {
        page.set_item_id(offset, ItemId::UNUSED).unwrap();
    }
    page.truncate_line_pointers().unwrap();
    assert_eq!((page.max_offset(), page.flags()), (5, PD_HAS_FREE_LINES));
    page.set_item_id(4, ItemId::UNUSED).unwrap();
    page.set_item_id(5, ItemId::UNUSED).unwrap();
    page.truncate_line_pointers().unwrap();
    assert_eq!((page.max_offset(), page.flags()), (1, PD_HAS_FREE_LINES));
}

#[test]
fn corrupt_headers_are_refused() {
    for (lower, upper) in [(20, 8000), (8100, 8000), (24, 8184), (0xffff, 0xffff)] {
        let mut bytes = filled(4);
        let mut page = Page::new(&mut bytes);
        page.set_lower(lower);
        page.set_upper(upper);
        assert!(page.add_item(&[1; 8], Placement::Insert(1)).is_err());
        assert!(page.delete_items(&[1, 2, 3]).is_err());
        assert!(page.repair_fragmentation().is_err());
    }
}
