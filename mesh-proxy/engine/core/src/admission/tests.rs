use super::*;
use crate::limits::Share;
use std::time::Duration;

const LIMITS: Limits = Limits {
    ingress: Share { total: 8, per_source: 4 },
    egress: 2,
    handshakes: Share { total: 3, per_source: 2 },
    held_bytes: Share { total: 10_000_000, per_source: 4_000_000 },
    descriptors: 1000,
};

fn id(serial: u64) -> ConnectionId {
    ConnectionId { thread: 0, index: 0, serial }
}

fn from(last: u8) -> Source {
    Source::V4([192, 0, 2, last])
}

#[test]
fn a_source_has_its_part_and_no_more() {
    let (mut admission, now) = (Admission::new(LIMITS), Instant::now());
    let places: Vec<Place> = (0..4).map(|serial| admission.enter(from(1), id(serial), now).0.unwrap()).collect();
    places.iter().for_each(|&place| admission.let_through(place));
    assert_eq!(admission.enter(from(1), id(9), now), (Err(Code::TooManyConnectionsOfSource), vec![]));
    admission.leave(places[0]);
    assert!(admission.enter(from(1), id(9), now).0.is_ok());
}

#[test]
fn who_keeps_others_of_its_source_waiting_makes_room_after_its_time() {
    let (mut admission, now) = (Admission::new(LIMITS), Instant::now());
    for serial in 0..4 {
        admission.enter(from(1), id(serial), now).0.unwrap();
    }
    assert!(admission.enter(from(1), id(4), now).0.is_err());
    let (entered, displaced) = admission.enter(from(1), id(5), now + Duration::from_secs(1));
    assert!(entered.is_ok());
    assert_eq!(displaced, [id(0)]);
}

#[test]
fn where_all_places_are_taken_the_source_with_most_makes_room_for_one_with_less() {
    let (mut admission, now) = (Admission::new(LIMITS), Instant::now());
    for serial in 0..7 {
        let place = admission.enter(from(1 + (serial / 4) as u8), id(serial), now).0.unwrap();
        admission.let_through(place);
    }
    // The last place is for a source that has none.
    assert_eq!(admission.enter(from(2), id(8), now), (Err(Code::TooManyConnections), vec![]));
    assert!(admission.enter(from(3), id(8), now).0.is_ok());
    let (entered, displaced) = admission.enter(from(4), id(9), now);
    assert!(entered.is_ok());
    // The last one that was let through.
    assert_eq!(displaced, [id(3)]);
    assert_eq!(admission.ingress_inside(), 8);
}

#[test]
fn an_egress_route_has_its_own_limit() {
    let mut admission = Admission::new(LIMITS);
    assert_eq!([1, 1, 1, 2].map(|route| admission.enter_egress(route).is_ok()), [true, true, false, true]);
    admission.leave_egress(1);
    assert!(admission.enter_egress(1).is_ok());
}

#[test]
fn sources_take_turns() {
    let (mut admission, now) = (Admission::new(LIMITS), Instant::now());
    let turns = &mut admission.turns;
    assert!(turns.enter(from(1), id(1), now) && turns.enter(from(1), id(2), now) && turns.enter(from(2), id(3), now));
    for serial in 10..15 {
        assert!(!turns.enter(from(1), id(serial), now));
    }
    assert!(!turns.enter(from(3), id(20), now));
    // One of the first source leaves, and its next one is first in the order; then it is the third source's turn.
    assert_eq!(turns.leave(from(1), id(1), now), [id(10)]);
    assert_eq!(turns.leave(from(2), id(3), now), [id(20)]);
    assert_eq!(turns.waiting(), 4);
    // Who leaves while it waits is not admitted.
    assert_eq!(turns.leave(from(1), id(11), now), []);
    assert_eq!(turns.leave(from(1), id(2), now), [id(12)]);
}

#[test]
fn whoever_has_its_turn_and_does_nothing_makes_room() {
    let (mut admission, now) = (Admission::new(LIMITS), Instant::now());
    let turns = &mut admission.turns;
    assert!(turns.enter(from(1), id(1), now) && turns.enter(from(1), id(2), now));
    assert!(!turns.enter(from(1), id(3), now));
    assert_eq!(turns.make_room(from(1), id(3), now), (vec![], vec![]));
    let later = now + Duration::from_secs(1);
    assert_eq!(turns.make_room(from(1), id(3), later), (vec![id(1)], vec![id(3)]));
    assert_eq!(turns.inside(), 2);
}

#[test]
fn of_those_that_hold_too_much_the_one_that_holds_most_goes() {
    let mut admission = Admission::new(LIMITS);
    let held = &mut admission.held_bytes;
    assert_eq!(held.set(id(1), from(1), 1_000_000), []);
    assert_eq!(held.set(id(2), from(1), 2_500_000), []);
    assert!(held.is_short_for(from(1)));
    assert_eq!(held.set(id(3), from(1), 600_000), [id(2)]);
    assert_eq!(held.used(), 1_600_000);
    assert_eq!(held.set(id(4), from(2), 3_900_000), []);
    assert_eq!(held.set(id(5), from(3), 3_800_000), []);
    // All of them together: of the source that has most.
    assert_eq!(held.set(id(6), from(4), 1_000_000), [id(4)]);
    held.set(id(1), from(1), 0);
    assert_eq!(held.most_of_one_source(), 3_800_000);
}
