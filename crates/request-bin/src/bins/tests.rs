use std::time::Duration;

use super::*;

fn bins(limits: BinLimits) -> (Bins, Clock) {
    let clock = Clock::fixed(DateTime::from_timestamp(1_760_000_000, 0).unwrap());
    (Bins::new(limits, clock.clone()), clock)
}

fn request(body_bytes: usize) -> Captured {
    Captured {
        number: 0,
        at: DateTime::UNIX_EPOCH,
        method: "POST".into(),
        path: String::new(),
        headers: vec![],
        body: vec![b'x'; body_bytes].into(),
        body_bytes,
        answered: Some(200),
    }
}

fn create(bins: &Bins) -> (ViewName, Bin) {
    bins.create(None, Answer::default(), vec![]).unwrap()
}

#[test]
fn the_url_does_not_say_by_which_name_a_bin_is_looked_at() {
    let (bins, _) = bins(BinLimits::default());
    let (name, bin) = create(&bins);
    assert!(bins.look(&name).is_some());
    assert!(bins.look(&ViewName::of(&bin.id)).is_none());
    assert!(bins.next_answer(name.as_str()).is_none());
    assert_eq!(format!("{name:?}"), "[redacted]");
}

#[test]
fn a_bin_ends_when_nobody_uses_it() {
    let lifetime = Duration::from_secs(60);
    let (bins, clock) = bins(BinLimits { lifetime, ..BinLimits::default() });
    let (name, bin) = create(&bins);
    for _ in 0..3 {
        clock.advance(Duration::from_secs(40));
        assert!(bins.next_answer(&bin.id).is_some(), "it was used in time");
        bins.keep(&bin.id, request(10));
    }
    clock.advance(Duration::from_secs(60));
    assert!(bins.look(&name).is_none());
    assert_eq!(bins.lock().bytes, 0);
}

#[test]
fn one_that_was_never_used_makes_room_and_others_do_not() {
    let (bins, clock) = bins(BinLimits { bins: 2, ..BinLimits::default() });
    let (used, bin) = create(&bins);
    bins.keep(&bin.id, request(1));
    clock.advance(Duration::from_secs(1));
    let (unused, _) = create(&bins);
    clock.advance(Duration::from_secs(1));
    let (newest, bin) = create(&bins);
    assert!(bins.look(&unused).is_none() && bins.look(&used).is_some());
    bins.keep(&bin.id, request(1));
    assert!(bins.create(None, Answer::default(), vec![]).is_none());
    assert!(bins.delete(&newest));
    create(&bins);
}

#[test]
fn what_is_too_much_pushes_out_the_oldest_of_the_fullest_bin() {
    let limits = BinLimits { requests_per_bin: 3, memory_bytes: 10_000, ..BinLimits::default() };
    let (bins, _) = bins(limits);
    let (small, bin) = create(&bins);
    bins.keep(&bin.id, request(100));
    let (large, bin) = create(&bins);
    (0..5).for_each(|_| bins.keep(&bin.id, request(100)));
    let numbers = |name| -> Vec<u64> {
        bins.look(name).unwrap().requests.iter().map(|request| request.number).collect()
    };
    assert_eq!(numbers(&large), [3, 4, 5]);
    bins.keep(&bin.id, request(9_300));
    assert_eq!(numbers(&large), [6]);
    assert_eq!(numbers(&small), [1], "it is not pushed out by another");
    assert_eq!(bins.look(&large).unwrap().received, 6);
    assert!(bins.clear(&large) && bins.clear(&small));
    assert_eq!(bins.lock().bytes, 0);
}
