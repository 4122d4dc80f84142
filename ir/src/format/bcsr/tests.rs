use super::*;

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Most elements are zeros; the others have their number.
fn matrix(rows: usize, columns: usize) -> Vec<f32> {
    let value = |i: usize| if i * 7919 % 11 < 2 { i as f32 + 1.0 } else { 0.0 };
    (0..rows * columns).map(value).collect()
}

#[test]
fn the_drawing() {
    let mut dense = vec![0f32; 8 * 8];
    for (r, c, v) in [(0, 1, 1.), (1, 1, 2.), (2, 1, 3.), (3, 1, 4.), (0, 4, 5.), (1, 4, 6.), (3, 4, 7.)] {
        dense[r * 8 + c] = v;
    }
    for (r, v) in [(4, 8.), (6, 9.), (7, 10.)] {
        dense[r * 8 + 6] = v;
    }
    let (format, data) = Bcsr::encode(&bytes(&dense), 4, 8, &[(8, 49)], Block::new(4, 1), false).unwrap();
    assert_eq!((format.blocks, format.unit, format.index), (3, 49, Index::Short));
    assert_eq!((format.indices_at(), format.values_at(), format.len()), (32, 48, 48 + 48));
    assert_eq!(data[..12], [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(data[12..24], [1, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(data[32..38], [1, 0, 4, 0, 6, 0]);
    assert_eq!(data[48..], bytes(&[1., 2., 3., 4., 5., 6., 0., 7., 8., 0., 9., 10.]));
    assert_eq!(format.decode(&data).unwrap(), bytes(&dense));
    let (format, data) = Bcsr::encode(&bytes(&dense), 4, 8, &[(8, 49)], Block::new(4, 1), true).unwrap();
    assert_eq!((format.index, &data[32..35]), (Index::Delta, &[1, 3, 6][..]));
    assert_eq!(format.decode(&data).unwrap(), bytes(&dense));
}

#[test]
fn every_block_of_every_size_comes_back() {
    for block in Block::ALL {
        for (rows, columns) in [(1, 1), (4, 4), (5, 7), (16, 16), (17, 33), (3, 64), (40, 80), (0, 5), (5, 0)]
        {
            let dense = bytes(&matrix(rows, columns));
            let width = usize::from(block.cols);
            let depth = match width {
                1 => vec![(columns, 1)],
                _ => vec![(columns / width, width), (width, 1)],
            };
            if !block.divides(columns) {
                let error = Bcsr::encode(&dense, 4, rows, &[(columns, 1)], block, false).unwrap_err();
                let why = if block.is_slice() { "not at least 32 by 16" } else { "do not lie 4 by 4" };
                assert!(error.to_string().contains(why), "{error}");
                continue;
            }
            for deltas in [false, true] {
                let (format, data) = Bcsr::encode(&dense, 4, rows, &depth, block, deltas).unwrap();
                assert_eq!(data.len(), format.len(), "{block} {rows} x {columns}");
                assert_eq!(format.decode(&data).unwrap(), dense, "{block} {rows} x {columns}");
            }
            let (format, _) = Bcsr::encode(&dense, 4, rows, &depth, block, false).unwrap();
            let zeros: Vec<bool> = matrix(rows, columns).iter().map(|v| *v == 0.0).collect();
            assert_eq!(count(&zeros, rows, columns, block), format.blocks);
        }
    }
}

#[test]
fn short_values_and_windows_come_back() {
    // Two channels of 3 x 3 windows over rows of 10, far apart: offsets need 32 bits.
    let depth = [(2, 70_000), (3, 10), (3, 1)];
    for size in [1, 2] {
        let dense: Vec<u8> = (0..6 * 18 * size).map(|i| if i % 5 == 0 { i as u8 } else { 0 }).collect();
        let (format, data) = Bcsr::encode(&dense, size, 6, &depth, Block::new(2, 1), true).unwrap();
        assert!(format.index == Index::Wide && format.unit == 1);
        assert_eq!(format.decode(&data).unwrap(), dense);
    }
    let same = Bcsr::encode(&[0; 72], 4, 1, &[(2, 1), (9, 1)], Block::new(1, 1), false);
    assert!(same.unwrap_err().message.contains("same place"));
    let far = Bcsr::encode(&[0; 16], 4, 1, &[(2, 1 << 40), (2, 1)], Block::new(1, 1), false);
    assert!(far.unwrap_err().message.contains("farther apart"));
}

#[test]
fn steps_of_8_bits_are_kept_where_they_are_enough() {
    for (second, index) in [(255, Index::Delta), (256, Index::Short)] {
        let mut dense = vec![0f32; 300];
        (dense[0], dense[second], dense[299]) = (1.0, 2.0, 3.0);
        let (format, data) = Bcsr::encode(&bytes(&dense), 4, 1, &[(300, 7)], Block::new(1, 1), true).unwrap();
        assert_eq!(format.index, index);
        assert_eq!(format.decode(&data).unwrap(), bytes(&dense));
    }
    // Windows whose second row begins before the first one's end go back and forth.
    let dense = bytes(&[1.0; 4]);
    let (format, data) = Bcsr::encode(&dense, 4, 1, &[(2, 3), (2, 5)], Block::new(1, 1), true).unwrap();
    assert_eq!(format.index, Index::Short);
    assert_eq!(format.decode(&data).unwrap(), dense);
}

#[test]
fn four_bytes_of_depth_are_a_block() {
    // Two times four channels of 3 pixels of a window over rows of 10: four channels of a pixel lie together.
    let depth = [(2, 400), (3, 4), (4, 1)];
    let dense: Vec<u8> = (0..5 * 24).map(|i| if i / 4 % 3 == 1 { i as u8 + 1 } else { 0 }).collect();
    let (format, data) = Bcsr::encode(&dense, 1, 5, &depth, Block::new(1, 4), true).unwrap();
    assert_eq!((format.unit, format.step(), format.index, format.blocks), (4, 1, Index::Delta, 10));
    assert_eq!(data[format.indices_at()..][..2], [1, 100]);
    assert_eq!(data[format.values_at()..][..8], [5, 6, 7, 8, 17, 18, 19, 20]);
    assert_eq!(format.decode(&data).unwrap(), dense);
    // Four rows follow each other; those that there are not are zeros.
    let (format, data) = Bcsr::encode(&dense, 1, 5, &depth, Block::new(4, 4), true).unwrap();
    assert_eq!(format.blocks, 4);
    assert_eq!(
        data[format.values_at()..][..16],
        [5, 6, 7, 8, 29, 30, 31, 32, 53, 54, 55, 56, 77, 78, 79, 80]
    );
    assert_eq!(format.decode(&data).unwrap(), dense);
    let outside = format.len() - 1;
    let mut broken = data;
    broken[outside] = 1;
    let error = format.decode(&broken).unwrap_err().to_string();
    assert!(error.contains("row 1 has a value outside of the matrix"), "{error}");
}

#[test]
fn rows_of_whole_groups_are_the_same_matrix() {
    for (rows, columns) in [(1, 1), (17, 33), (3, 64), (0, 5), (5, 0)] {
        for (block, deltas) in
            [(Block::new(1, 1), false), (Block::new(1, 1), true), (Block::new(8, 1), false)]
        {
            let dense = bytes(&matrix(rows, columns));
            let (format, data) = Bcsr::encode(&dense, 4, rows, &[(columns, 1)], block, deltas).unwrap();
            let (grouped, data) = format.in_groups(&data, 4).unwrap();
            assert_eq!((data.len(), grouped.blocks % 4), (grouped.len(), 0));
            assert_eq!(grouped.decode(&data).unwrap(), dense);
            assert!(Bcsr { group: 64, ..grouped.clone() }.decode(&data).is_err() || grouped.is_empty());
            assert!(grouped.in_groups(&data, 2).is_err());
        }
    }
    // Of three blocks the fourth is nothing more of the last column.
    let dense = bytes(&[1., 0., 2., 3.]);
    let (format, data) = Bcsr::encode(&dense, 4, 1, &[(4, 1)], Block::new(1, 1), false).unwrap();
    let (grouped, mut data) = format.in_groups(&data, 4).unwrap();
    assert_eq!(data[grouped.indices_at()..][..8], [0, 0, 2, 0, 3, 0, 3, 0]);
    *data.last_mut().unwrap() = 1;
    let error = grouped.decode(&data).unwrap_err().to_string();
    assert!(error.contains("a value outside"), "{error}");
}

#[test]
fn shares_have_as_many_blocks_as_each_other() {
    // Eight rows, of which the first two have nearly all.
    let before = [0, 100, 200, 201, 202, 203, 204, 205, 206];
    assert_eq!(shares(&before), [0, 0, 1, 1, 1, 1, 2, 2, 8]);
    assert_eq!(shares(&[0, 5, 10, 15, 20]), [0, 1, 2, 3, 4]);
    assert_eq!(shares(&[0, 0, 0]), [0, 1, 2]);
    assert_eq!(shares(&[0]), [0]);
    let random: Vec<u32> = matrix(40, 40)
        .iter()
        .scan(0, |n, v| {
            *n += u32::from(*v != 0.0);
            Some(*n)
        })
        .step_by(40)
        .collect();
    let cut = shares(&random);
    let half = random[cut[cut.len() / 2] as usize] - random[0];
    let all = random[random.len() - 1] - random[0];
    assert!(half.abs_diff(all / 2) < all / 20, "{half} of {all}");
}

#[test]
fn rows_of_a_slice_have_columns_of_their_own() {
    let mut dense = vec![0f32; 17 * 48];
    for (r, c, v) in [(0, 1, 1.), (1, 20, 2.), (0, 18, 3.), (2, 40, 4.), (16, 47, 5.)] {
        dense[r * 48 + c] = v;
    }
    let (format, data) = Bcsr::encode(&bytes(&dense), 4, 17, &[(48, 1)], Block::SLICE, false).unwrap();
    // Rows 0 and 1 begin at column 0, row 0 again and row 2 at 16.
    assert_eq!((format.blocks, format.unit, format.index), (3, 16, Index::Delta));
    assert_eq!(data[format.indices_at()..][..3], [0, 1, 1]);
    assert_eq!(data[format.columns_at()..][..3], [1, 20, 0]);
    assert_eq!(data[format.columns_at() + 16..][..3], [2, 0, 24]);
    assert_eq!(data[format.columns_at() + 32], 31);
    assert_eq!((format.values_at() % 64, data.len()), (0, format.values_at() + 3 * 64));
    assert_eq!(data[format.values_at()..][..8], bytes(&[1., 2.]));
    assert_eq!(format.decode(&data).unwrap(), bytes(&dense));
    let says = |changes: &[(usize, u8)], what: &str| {
        let mut data = data.clone();
        changes.iter().for_each(|(at, byte)| data[*at] = *byte);
        let error = format.decode(&data).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    says(&[(format.columns_at(), 32)], "column 32 of row 0 is none of its slice's");
    says(&[(format.indices_at() + 1, 3)], "is none of its slice's");
    says(&[(format.indices_at() + 1, 0), (format.columns_at() + 16, 1)], "column 1 of row 0 is out of order");
    says(&[(format.values_at() + 2 * 64 + 7, 1)], "column 16 of row 17 is out of order");
    let apart = Bcsr::encode(&bytes(&dense), 4, 17, &[(48, 2)], Block::SLICE, false).unwrap_err();
    assert!(apart.message.contains("side by side"), "{apart}");
    assert!(format.in_groups(&data, 4).is_err());
}

#[test]
fn what_is_broken_is_refused() {
    let dense = bytes(&matrix(8, 8));
    let (format, data) = Bcsr::encode(&dense, 4, 8, &[(8, 1)], Block::new(2, 1), false).unwrap();
    let says = |format: &Bcsr, data: &[u8], what: &str| {
        let error = format.decode(data).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    says(&format, &data[1..], "bytes, expected");
    says(&Bcsr { block: Block::new(3, 1), ..format.clone() }, &data, "blocks of 3x1");
    let with = |at: usize, byte: u8| {
        let mut data = data.clone();
        data[at] = byte;
        data
    };
    says(&format, &with(0, 1), "row 0 has blocks 1");
    says(&format, &with(8, 200), "row 0 has blocks 0 to 200");
    says(&format, &with(4, 1), "shares that are not all rows");
    says(&format, &with(12, 9), "shares that are not all rows");
    says(&format, &with(format.indices_at(), 99), "is no column's");
    says(&format, &with(format.indices_at() + 2, 0), "is out of order");
}
