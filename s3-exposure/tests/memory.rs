//! Constant memory and one opening a chunk, however many read and however their ranges lie.

mod support;

use adyton_s3_exposure::source::BLOCK_BYTES;
use support::{Model, Stand, exchange, pattern};

const MIB: usize = 1 << 20;
const POOL: u64 = 6 << 20;

fn read(stand: &Stand, expected: &[u8], ranges: &[(usize, usize)]) {
    let mut wire = stand.connect();
    for (from, to) in ranges {
        let fields = format!("Range: bytes={from}-{to}\r\n");
        let head = stand.head("GET", "/adyton/model/weights.dat", &stand.host(), &fields);
        let reply = exchange(wire.as_mut(), &head);
        assert_eq!(reply.status, 206);
        assert!(reply.body == expected[*from..=*to], "{from}-{to}");
    }
}

#[test]
fn sixty_four_parallel_readers_share_one_bounded_pool() {
    let size = 16 * MIB + 777;
    let model = Model::new(&[("weights.dat", pattern(size, 5))]);
    let expected = &model.files[0].1;
    let stand = model.expose(model.sealed_ranges());
    std::thread::scope(|scope| {
        for reader in 0..64_usize {
            let stand = &stand;
            scope.spawn(move || {
                let ranges: Vec<_> = (0..6)
                    .map(|turn| {
                        let from = (reader * 7919 + turn * 1_234_567) % (size - MIB);
                        (from, from + MIB - 1 - reader)
                    })
                    .collect();
                read(stand, expected, &ranges);
            });
        }
    });
    let usage = stand.exposure.usage();
    assert_eq!(usage.pool_bytes, POOL);
    assert!(usage.blocks_held * BLOCK_BYTES as u64 <= POOL, "{usage:?}");
}

/// What the Run:ai streamer asks: the header in two parts, then parts that begin at the data's offset, each cut at
/// multiples of 8 MiB, in parallel and out of order.
#[test]
fn unaligned_parallel_ranges_cost_each_block_about_one_opening() {
    let size = 40 * MIB;
    let model = Model::new(&[("weights.dat", pattern(size, 6))]);
    let expected = &model.files[0].1;
    let stand = model.expose(model.sealed_ranges());
    read(&stand, expected, &[(0, 7), (8, 319)]);
    let part = 8 * MIB;
    let mut ranges = Vec::new();
    for number in 0..5 {
        let (from, to) = (number * part + 320, ((number + 1) * part + 320).min(size));
        ranges.push((from, (number + 1) * part - 1));
        if (number + 1) * part < to {
            ranges.push(((number + 1) * part, to - 1));
        }
    }
    ranges.reverse();
    std::thread::scope(|scope| {
        for ranges in ranges.chunks(2) {
            let stand = &stand;
            scope.spawn(move || read(stand, expected, ranges));
        }
    });
    let usage = stand.exposure.usage();
    let blocks = (size / BLOCK_BYTES) as u64;
    assert!(usage.blocks_opened >= blocks, "{usage:?}");
    // A block at a boundary may be evicted before its second reader comes.
    assert!(usage.blocks_opened <= blocks + blocks / 20, "{usage:?} for {blocks} blocks");
}

#[test]
fn what_was_read_is_wiped_when_nobody_reads_any_more() {
    let model = Model::new(&[("weights.dat", pattern(MIB, 7))]);
    let stand = model.expose(model.sealed_ranges());
    read(&stand, &model.files[0].1, &[(0, MIB - 1)]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while stand.exposure.usage().blocks_held > 0 {
        assert!(std::time::Instant::now() < deadline, "plaintext stays in the pool");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
