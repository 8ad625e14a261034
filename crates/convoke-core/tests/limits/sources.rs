//! Links from one source: bounded, and not those of the hub's own machine.

use std::net::IpAddr;

use convoke_core::{Code, HubConfig, LinkId, LinkRefusal, Peer, Refusal, limits};

use crate::bench::Bench;
use crate::usage;

fn open(bench: &mut Bench, from: &str) -> Result<LinkId, Refusal> {
    let source: IpAddr = from.parse().unwrap();
    bench.hub.open_from(Peer::Stranger, Some(source), bench.now)
}

#[test]
fn one_source_has_a_thousand_links_and_is_told_so_and_others_go_on() {
    let mut bench = Bench::new();
    let mut links: Vec<LinkId> =
        (0..limits::LINKS_PER_SOURCE_MAX).map(|_| open(&mut bench, "192.0.2.7").unwrap()).collect();
    assert_eq!(usage(&bench, "links_per_source"), (1000, 1000));
    let refused = open(&mut bench, "192.0.2.7").unwrap_err();
    assert_eq!(refused.code, Code::Limit);
    assert_eq!(
        refused.to_string(),
        "the hub has 1000 links from 192.0.2.7, which is all it may have of one source; try again later"
    );
    assert_eq!(bench.hub.counters().links_refused(LinkRefusal::TooManyOfSource), 1);
    open(&mut bench, "192.0.2.8").unwrap();
    bench.hub.closed(links.pop().unwrap(), bench.now);
    links.push(open(&mut bench, "::ffff:192.0.2.7").unwrap());
    open(&mut bench, "192.0.2.7").unwrap_err();
    for link in links {
        bench.hub.closed(link, bench.now);
    }
    assert_eq!(usage(&bench, "links_per_source").0, 1, "the one of the other source");
    bench.expect_witness_unhurt(&"a source that has all it may have");
}

#[test]
fn who_has_a_network_of_ipv6_addresses_is_one_source() {
    let mut bench = Bench::with(HubConfig { links_per_source_max: 2, ..HubConfig::default() });
    open(&mut bench, "2001:db8:0:1::1").unwrap();
    open(&mut bench, "2001:db8:0:1::2").unwrap();
    let refused = open(&mut bench, "2001:db8:0:1:ffff::3").unwrap_err().to_string();
    assert!(refused.starts_with("the hub has 2 links from 2001:db8:0:1::/64, which"), "{refused}");
    open(&mut bench, "2001:db8:0:2::1").unwrap();
}

#[test]
fn links_of_the_machine_itself_are_not_counted_by_source() {
    let mut bench = Bench::with(HubConfig { links_per_source_max: 1, ..HubConfig::default() });
    for from in ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"] {
        for _ in 0..3 {
            open(&mut bench, from).unwrap();
        }
    }
    assert_eq!(usage(&bench, "links_per_source"), (0, 1));
}

#[test]
fn all_links_together_are_bounded_too() {
    let mut bench = Bench::with(HubConfig { links_max: 3, ..HubConfig::default() });
    open(&mut bench, "192.0.2.7").unwrap();
    assert_eq!(usage(&bench, "links"), (3, 3));
    let refused = open(&mut bench, "192.0.2.8").unwrap_err();
    assert_eq!((refused.code, bench.hub.counters().links_refused(LinkRefusal::TooMany)), (Code::Limit, 1));
    assert_eq!(usage(&bench, "links_per_source").0, 1, "who was refused is not counted");
}

#[test]
fn how_many_a_source_may_have_changes_while_the_hub_runs() {
    let mut bench = Bench::new();
    let _open = [(); 3].map(|()| open(&mut bench, "192.0.2.7").unwrap());
    bench.hub.reconfigure(&HubConfig { links_per_source_max: 2, ..HubConfig::default() });
    assert_eq!(usage(&bench, "links_per_source"), (3, 2), "nobody is cut");
    open(&mut bench, "192.0.2.7").unwrap_err();
    bench.hub.reconfigure(&HubConfig { links_per_source_max: 4, ..HubConfig::default() });
    open(&mut bench, "192.0.2.7").unwrap();
}
