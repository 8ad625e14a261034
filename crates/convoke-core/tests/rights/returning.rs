//! Rights of who is away, comes back, or says to be somebody else; and changes of rights that come twice.

use std::time::Duration;

use bytes::Bytes;
use convoke_core::foundation::{Ask, Told};
use convoke_core::frame::{Change, WatchMode};
use convoke_core::limits::RIGHTS_TIME_MAX;
use convoke_core::{
    CallEnd, CallRequest, Code, Headers, HubConfig, Incoming, NodeConfig, Payload, Peer, Refusal, Selector,
};

use crate::pair::World;
use crate::{answer, change, create, get, join, key, name, publish, serve, set, told, watch, world};

fn request<'a>(service: &str, wait: bool, headers: &'a Headers) -> CallRequest<'a> {
    CallRequest {
        service: name(service),
        select: Selector::Default,
        wait,
        timeout: Duration::from_secs(60),
        payload: Payload::text("x"),
        headers,
    }
}

/// Node 0 has been given these calls.
fn given(world: &mut World) -> Vec<u64> {
    let incoming = world.nodes[0].state.incoming().into_iter();
    let calls = incoming.filter_map(|incoming| match incoming {
        Incoming::Call(call) => Some(call.id),
        _ => None,
    });
    calls.collect()
}

fn reply(world: &mut World, call: u64, text: &str) {
    let now = world.now;
    world.nodes[0].state.finish(call, &CallEnd::Done(Payload::text(text)), now);
}

/// The words of what became of a node's calls.
fn ends(world: &mut World, who: usize) -> Vec<String> {
    let ended = world.nodes[who].state.ended_calls().into_iter();
    let word = |end| match end {
        CallEnd::Done(payload) => String::from_utf8(payload.bytes.to_vec()).unwrap(),
        CallEnd::Failed { kind, .. } => kind,
        CallEnd::Refused(why) => format!("refused, {}", why.code.word()),
        CallEnd::Uncertain(why) => format!("uncertain, {}", why.code.word()),
    };
    ended.map(|(_, end)| word(end)).collect()
}

/// A node stays away, or comes back.
fn away(world: &mut World, who: usize, away: bool) {
    if away {
        world.detach(who);
    }
    world.nodes[who].refused = away.then(|| Refusal::new(Code::Offline, "it stays away"));
}

/// A world in which ann has called the service `s` of node 0; and eve, who has called it elsewhere, and says there to be what
/// ann is here.
fn ann_and_eve() -> (World, usize, World, usize) {
    let [mut world, mut elsewhere] = [world(), world()];
    for world in [&mut world, &mut elsewhere] {
        for node in ["ann", "eve"] {
            create(world, node, node, &["join %node", "call s"]);
        }
    }
    serve(&mut world, 0, "s").unwrap();
    let ann = join(&mut world, "ann", "ann", "ann");
    let eve = join(&mut elsewhere, "eve", "eve", "eve");
    for (world, who) in [(&mut world, ann), (&mut elsewhere, eve)] {
        let now = world.now;
        world.nodes[who].state.call(&request("s", true, &Headers::new()), now).unwrap();
        world.settle();
    }
    assert_eq!(
        world.nodes[ann].state.welcome().incarnation,
        elsewhere.nodes[eve].state.welcome().incarnation,
        "what the hub does not know, anybody may say to be"
    );
    (world, ann, elsewhere, eve)
}

/// Eve joins ann's hub, with the call that she has open.
fn moves(mut from: World, who: usize, to: &mut World) -> usize {
    from.detach(who);
    to.now = to.now.max(from.now);
    to.nodes.push(from.nodes.remove(who));
    to.settle();
    assert!(to.nodes.last().unwrap().state.is_joined());
    to.nodes.len() - 1
}

/// Once a provider told what became of a call to whoever named the incarnation that had made it.
#[test]
fn nobody_gets_the_reply_of_anothers_call_by_claiming_to_be_what_the_hub_has_forgotten() {
    let (mut world, ann, elsewhere, eve) = ann_and_eve();
    let call = given(&mut world)[0];
    away(&mut world, ann, true);
    reply(&mut world, call, "for ann");
    world.restart_hub();
    let eve = moves(elsewhere, eve, &mut world);
    assert!(!ends(&mut world, eve).contains(&"for ann".to_owned()));
    away(&mut world, ann, false);
    world.settle();
    assert_eq!(ends(&mut world, ann), ["for ann"], "she gets it herself");
}

/// Once such a call was handed over while its provider had it still.
#[test]
fn nobody_takes_over_the_call_of_a_node_that_has_left() {
    let (mut world, ann, elsewhere, eve) = ann_and_eve();
    let call = given(&mut world)[0];
    let now = world.now;
    world.nodes[ann].state.leave(now);
    world.settle();
    let eve = moves(elsewhere, eve, &mut world);
    reply(&mut world, call, "for ann");
    world.settle();
    assert!(!ends(&mut world, eve).contains(&"for ann".to_owned()));
}

#[test]
fn who_comes_back_as_another_principal_gets_what_that_one_may() {
    for (rules, expected) in [(["join cam", "call lamp"], "uncertain, Forbidden"), (["join cam", "call safe"], "42")] {
        let mut world = world();
        for (principal, rules) in [("old", ["join cam", "call #"]), ("new", rules)] {
            change(&mut world, principal, &Change::Create { key: None, rules: rules.to_vec() }).unwrap();
        }
        serve(&mut world, 0, "safe").unwrap();
        let cam = world.join(NodeConfig::new(name("cam")), Peer::Known(name("old")));
        let now = world.now;
        for wait_for in ["safe", "door"] {
            world.nodes[cam].state.call(&request(wait_for, true, &Headers::new()), now).unwrap();
        }
        world.settle();
        let call = given(&mut world)[0];
        // Its reply is kept for it, and the other call waits.
        away(&mut world, cam, true);
        reply(&mut world, call, "42");
        world.settle();
        world.becomes(cam, Peer::Known(name("new")));
        away(&mut world, cam, false);
        world.settle();
        assert!(world.nodes[cam].state.is_joined() && world.nodes[cam].state.welcome().resumed);
        serve(&mut world, 0, "door").unwrap();
        assert!(given(&mut world).is_empty(), "nobody is given what cam may not call any more");
        let ends = ends(&mut world, cam);
        assert!(ends.contains(&expected.to_owned()) && ends.contains(&"uncertain, Forbidden".to_owned()), "{ends:?}");
    }
}

/// Once only nodes that were joined at that moment felt a change of rights.
#[test]
fn a_change_of_rights_is_in_force_for_those_who_are_away_too() {
    let mut world = world();
    create(&mut world, "cam", "1", &["join cam", "call #"]);
    serve(&mut world, 0, "safe").unwrap();
    let cam = join(&mut world, "cam", "cam", "1");
    let now = world.now;
    for service in ["safe", "door"] {
        world.nodes[cam].state.call(&request(service, true, &Headers::new()), now).unwrap();
    }
    world.settle();
    let call = given(&mut world)[0];
    away(&mut world, cam, true);
    reply(&mut world, call, "42");
    world.settle();
    change(&mut world, "cam", &Change::Rules(vec!["join cam"])).unwrap();
    serve(&mut world, 0, "door").unwrap();
    assert!(given(&mut world).is_empty(), "nobody is given what cam may not call any more");
    away(&mut world, cam, false);
    world.settle();
    assert_eq!(ends(&mut world, cam), ["uncertain, Forbidden", "uncertain, Forbidden"]);
}

/// The operation that waits for the foundation, and its ticket.
fn held(world: &mut World) -> (u64, Bytes) {
    let held = std::mem::take(&mut world.held).into_iter();
    let mut appends = held.filter_map(|ask| match ask {
        Ask::Append { ticket, operation } => Some((ticket, operation)),
        _ => None,
    });
    appends.next().expect("something is to be kept")
}

fn rules_of(world: &mut World, principal: &str) -> Vec<String> {
    get(world, 0, &format!("$hub/tokens/{principal}"))
}

/// Once it was told `Conflict`, and undid what another hub had changed meanwhile.
#[test]
fn a_change_of_rights_is_done_once_even_if_nobody_knows_whether_it_was_kept() {
    let rules = |rule| Change::Rules(vec![rule]);
    // Of another hub on the same foundation.
    let mut other = World::of_hub(2, 1, HubConfig::default());
    create(&mut other, "cam", "1", &["join cam"]);
    other.hold = true;
    other.nodes[0].state.grant(&name("cam"), &rules("join #")).unwrap();
    other.settle();
    let (_, of_other) = held(&mut other);
    for was_kept in [true, false] {
        let mut world = world();
        world.hold = true;
        let create = Change::Create { key: Some(key("1")), rules: vec!["join cam"] };
        let id = world.nodes[0].state.grant(&name("cam"), &create).unwrap();
        world.settle();
        let (ticket, operation) = held(&mut world);
        if was_kept {
            world.commit(None, operation.clone());
            world.commit(None, of_other.clone());
        }
        world.tell(Told::Uncertain { ticket });
        world.hold = false;
        let cam = was_kept.then(|| join(&mut world, "cam/1", "cam", "1"));
        world.settle();
        assert_eq!(answer(&mut world, 0, id), Ok(0), "it is answered as the first time");
        let rule = if was_kept { "allow join #" } else { "allow join cam" };
        assert!(rules_of(&mut world, "cam")[0].contains(rule), "{:?}", rules_of(&mut world, "cam"));
        if let Some(cam) = cam {
            assert_eq!(publish(&mut world, cam, "a"), Err(Code::Forbidden));
            assert!(world.nodes[cam].state.is_joined() && !world.nodes[cam].state.welcome().resumed, "its link lives");
        }
    }
}

#[test]
fn changes_of_rights_are_done_one_after_the_other_and_none_of_who_has_lost_the_right_to() {
    let mut world = world();
    create(&mut world, "boss", "1", &["all #", "administer"]);
    let boss = join(&mut world, "boss", "boss", "1");
    world.hold = true;
    let revoke = world.nodes[0].state.grant(&name("boss"), &Change::Rules(vec!["join boss"])).unwrap();
    world.settle();
    let new = Change::Create { key: Some(key("2")), rules: vec!["all #"] };
    let ids =
        [(boss, "spy"), (0, "cam")].map(|(who, of)| (who, world.nodes[who].state.grant(&name(of), &new).unwrap()));
    world.settle();
    assert_eq!(world.held.len(), 1, "the second waits for the first");
    world.hold = false;
    world.settle();
    let [(_, of_boss), (_, of_admin)] = ids;
    let answers = world.nodes[0].state.answers();
    assert_eq!(answers, [(revoke, Ok(0)), (of_admin, Ok(0))]);
    assert_eq!(answer(&mut world, boss, of_boss).unwrap_err().code, Code::LinkLost);
    assert_eq!(rules_of(&mut world, "spy"), Vec::<String>::new());
}

/// Of many values that a slow link has room for, only what was written already leaves.
#[test]
fn what_waits_on_a_link_when_its_rights_change_never_leaves() {
    const BYTES: usize = 30_000;
    let mut world = world();
    create(&mut world, "eye", "1", &["join eye", "watch #"]);
    let eye = join(&mut world, "eye", "eye", "1");
    for n in 0..20 {
        set(&mut world, 0, &format!("a/{n}"), Some(&"x".repeat(BYTES)), false).unwrap();
    }
    world.nodes[eye].deaf = true;
    let watched = watch(&mut world, eye, "#", WatchMode::Latest);
    let taken = world.nodes[eye].waiting_bytes(&mut world.hub);
    assert!(taken > BYTES && taken < 10 * BYTES, "{taken}");
    change(&mut world, "eye", &Change::Rules(vec!["join eye"])).unwrap();
    let left = world.drain(eye);
    assert!(left < 1000, "{left} bytes leave after the change");
    world.nodes[eye].deaf = false;
    world.settle();
    world.detach(eye);
    world.settle();
    let told = told(&mut world, eye, watched);
    assert_eq!(told.last().unwrap(), "Forbidden");
    assert!((told.len() - 1) * BYTES <= taken, "{} values are told, and {taken} bytes were written", told.len() - 1);
}

/// Whenever its link took something it was given ten seconds more, and so what was on its way before left long after.
#[test]
fn a_link_is_cut_in_time_when_its_rights_change_however_much_it_takes() {
    let mut world = world();
    create(&mut world, "eye", "1", &["join eye", "watch #"]);
    let eye = join(&mut world, "eye", "eye", "1");
    world.nodes[eye].deaf = true;
    change(&mut world, "eye", &Change::Rules(vec!["join eye"])).unwrap();
    world.takes(eye, true);
    world.takes(eye, false);
    world.now = world.now + RIGHTS_TIME_MAX / 2;
    world.hub.tick(world.now);
    assert!(!world.is_to_be_cut(eye), "it is told why, if it reads");
    world.takes(eye, true);
    world.takes(eye, false);
    world.now = world.now + RIGHTS_TIME_MAX / 2;
    world.hub.tick(world.now);
    assert!(world.is_to_be_cut(eye));
}

/// Each bug is planted in the real code, and the story that must notice it is told again.
#[cfg(feature = "sim")]
#[test]
fn what_is_told_here_notices_the_bugs_that_it_is_about() {
    use convoke_core::bug::{Bug, plant};
    let stories: [(Bug, fn()); 4] = [
        (Bug::RecalledByAnother, nobody_gets_the_reply_of_anothers_call_by_claiming_to_be_what_the_hub_has_forgotten),
        (Bug::ResumedAsAnother, who_comes_back_as_another_principal_gets_what_that_one_may),
        (Bug::AwayKeepReplies, a_change_of_rights_is_in_force_for_those_who_are_away_too),
        (Bug::GrantedTwice, a_change_of_rights_is_done_once_even_if_nobody_knows_whether_it_was_kept),
    ];
    for (bug, story) in stories {
        story();
        plant(Some(bug));
        let told = std::panic::catch_unwind(story);
        plant(None);
        assert!(told.is_err(), "{bug:?} is not noticed");
    }
}
