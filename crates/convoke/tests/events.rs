//! Story: programs publish and subscribe by name.

mod support;

use convoke::{Code, Encoding, Error, Headers, HubOptions, Outcome, Payload};
use support::*;

on_every_transport! {
    async fn a_name_may_be_given_as_url(stage: Stage) {
        let press = stage.node("press").await;
        let mut opened = press.subscribe("convoke:press/1/+").await.unwrap();
        for name in ["convoke:press/1/a%20b", "press/1/a b", "convoke:press/1/a%20b"] {
            press.publish(name, &name).await.unwrap();
            let event = event(&mut opened).await;
            assert_eq!(event.topic().as_str(), "press/1/a b");
            assert_eq!(event.payload.decode::<String>().unwrap(), name);
        }
    }

    async fn a_subscriber_gets_what_is_published(stage: Stage) {
        let press = stage.node("press-1").await;
        let panel = stage.node("panel").await;
        let mut opened = panel.subscribe("press/+/opened").await.unwrap();
        press.publish("press/1/opened", &12).await.unwrap();
        let event = event(&mut opened).await;
        assert_eq!((event.topic().as_str(), event.publisher().as_str()), ("press/1/opened", "press-1"));
        assert_eq!(event.payload.decode::<i64>().unwrap(), 12);
    }

    async fn a_subscription_is_a_stream(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut all = std::pin::pin!(panel.subscribe("#").await.unwrap());
        for n in 0..100 {
            press.publish("a", &n).await.unwrap();
        }
        for n in 1..=100 {
            let next = std::future::poll_fn(|context| futures_core::Stream::poll_next(all.as_mut(), context));
            assert_eq!(soon(next).await.unwrap().unwrap().seq, n);
        }
    }

    async fn events_arrive_in_the_order_they_were_published_across_topics(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut all = panel.subscribe("#").await.unwrap();
        for n in 0..10_000u32 {
            press.publish(format!("t/{}", n % 7), &n).await.unwrap();
        }
        for n in 0..10_000u32 {
            let event = event(&mut all).await;
            assert_eq!((event.topic().as_str(), event.payload.decode::<u32>().unwrap()), (format!("t/{}", n % 7).as_str(), n));
        }
    }

    async fn a_publisher_learns_to_how_many_its_event_went(stage: Stage) {
        let press = stage.node("press").await;
        press.publish("a", &1).await.unwrap();
        assert_eq!(soon(press.confirm()).await.unwrap(), 0);
        let one = stage.node("one").await;
        let two = stage.node("two").await;
        let _one = one.subscribe("a").await.unwrap();
        let _two = two.subscribe("#").await.unwrap();
        let _again = two.subscribe("+").await.unwrap();
        press.publish("a", &1).await.unwrap();
        assert_eq!(soon(press.confirm()).await.unwrap(), 2);
    }

    async fn payloads_of_every_length_arrive_as_they_were_published(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut all = panel.subscribe("#").await.unwrap();
        // Around the lengths at which frames are shared and payloads cut into fragments.
        let lengths = [0, 1, 100, 16_359, 16_360, 16_361, 65_511, 65_512, 65_535, 65_536, 65_537, 131_072, 131_073, 1 << 20];
        for len in lengths {
            let bytes: Vec<u8> = (0..len).map(|at: usize| (at % 251) as u8).collect();
            press.publish_payload("bulk", &Payload::raw(bytes.clone()), &Headers::new()).await.unwrap();
            press.publish("small", &len).await.unwrap();
            let long = event(&mut all).await;
            assert_eq!(long.payload.bytes.len(), len);
            assert!(long.payload.bytes == bytes, "a payload of {len} bytes has changed on its way");
            assert_eq!(event(&mut all).await.payload.decode::<usize>().unwrap(), len);
        }
    }

    async fn a_payload_longer_than_the_hub_takes_is_refused_before_it_leaves(stage: Stage) {
        let press = stage.node("press").await;
        let mut all = press.subscribe("#").await.unwrap();
        let long = Payload::raw(vec![0; (1 << 20) + 1]);
        let error = press.publish_payload("bulk", &long, &Headers::new()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "publish on `bulk`: the payload has 1048577 bytes, and this hub takes at most 1048576"
        );
        assert_eq!((error.code(), error.outcome()), (Code::TooLarge, Outcome::NotDone));
        // What the headers take counts too.
        let headers = Headers::from_iter([("a", "b")]);
        let error = press.publish_payload("bulk", &Payload::raw(vec![0; 1 << 20]), &headers).await.unwrap_err();
        assert_eq!(error.code(), Code::TooLarge);
        let headers = Headers::from_iter([("a", "b".repeat(17 << 10))]);
        let error = press.publish_payload("bulk", &Payload::raw(vec![0]), &headers).await.unwrap_err();
        assert_eq!(error.to_string(), "publish on `bulk`: the headers are longer than 16 KiB");
        press.publish("small", &1).await.unwrap();
        assert_eq!(event(&mut all).await.seq, 1);
    }

    async fn headers_and_encodings_travel_with_the_payload(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut all = panel.subscribe("#").await.unwrap();
        let headers = Headers::from_iter([("trace", "abc"), ("trace", "def"), ("ä", "")]);
        let payloads = [
            Payload::raw(vec![0xff, 0]),
            Payload::text("grüß"),
            Payload::encode_json(&[1, 2]).unwrap(),
            Payload::encode(&(1, "two")).unwrap(),
            Payload::text("x".repeat(200_000)),
        ];
        for payload in &payloads {
            press.publish_payload("a", payload, &headers).await.unwrap();
            press.publish_payload("a", payload, &Headers::new()).await.unwrap();
        }
        for payload in &payloads {
            let with = event(&mut all).await;
            assert!(with.payload == *payload && with.headers == headers, "{with:?}");
            let without = event(&mut all).await;
            assert!(without.payload == *payload && without.headers.is_empty(), "{without:?}");
        }
        assert_eq!(payloads.map(|payload| payload.encoding), [
            Encoding::Raw, Encoding::Text, Encoding::Json, Encoding::MessagePack, Encoding::Text,
        ]);
    }

    async fn a_pattern_gets_what_it_matches_and_nothing_else(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let topics = ["press", "press/1", "press/2", "press/1/opened", "press/1/opened/late", "line/1/opened"];
        // Events of one publisher come in their order: with this one, all before it are there.
        let mut end = panel.subscribe("end").await.unwrap();
        for (pattern, expected) in [
            ("press/1", &["press/1"][..]),
            ("press/+", &["press/1", "press/2"]),
            ("+/1/opened", &["press/1/opened", "line/1/opened"]),
            ("press/#", &["press", "press/1", "press/2", "press/1/opened", "press/1/opened/late"]),
            ("press/+/#", &["press/1", "press/2", "press/1/opened", "press/1/opened/late"]),
            ("+", &["press", "end"]),
            ("nothing", &[]),
        ] {
            let mut matching = panel.subscribe(pattern).await.unwrap();
            for topic in topics.iter().chain(&["end"]) {
                press.publish(topic, &()).await.unwrap();
            }
            event(&mut end).await;
            let mut got = Vec::new();
            while let Some(event) = matching.try_next() {
                got.push(event.unwrap().topic().as_str().to_owned());
            }
            assert_eq!(got, expected, "{pattern}");
        }
    }

    async fn a_dropped_subscription_is_gone_from_the_hub(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let kept = panel.subscribe("b").await.unwrap();
        let one = panel.subscribe("a").await.unwrap();
        let two = panel.subscribe("a").await.unwrap();
        press.publish("a", &1).await.unwrap();
        assert_eq!(soon(press.confirm()).await.unwrap(), 1);
        drop(one);
        soon(panel.barrier()).await.unwrap();
        press.publish("a", &1).await.unwrap();
        assert_eq!(soon(press.confirm()).await.unwrap(), 1, "the other is still there");
        drop(two);
        soon(panel.barrier()).await.unwrap();
        press.publish("a", &1).await.unwrap();
        assert_eq!(soon(press.confirm()).await.unwrap(), 0);
        press.publish("b", &1).await.unwrap();
        assert_eq!(soon(press.confirm()).await.unwrap(), 1);
        drop(kept);
    }

    async fn subscriptions_of_one_node_that_match_get_an_event_once_each(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut all = Vec::new();
        for pattern in ["a/b", "a/b", "a/+", "a/#", "#", "+/b"] {
            all.push(panel.subscribe(pattern).await.unwrap());
        }
        for n in 0..3 {
            press.publish("a/b", &n).await.unwrap();
        }
        for subscription in &mut all {
            for n in 0..3 {
                assert_eq!(event(subscription).await.payload.decode::<i32>().unwrap(), n);
            }
        }
        // Whatever came twice would have come by now.
        let mut end = panel.subscribe("end").await.unwrap();
        press.publish("end", &()).await.unwrap();
        event(&mut end).await;
        for subscription in &mut all[..4] {
            assert!(subscription.try_next().is_none());
        }
    }

    async fn a_publisher_that_subscribes_gets_its_own_events(stage: Stage) {
        let press = stage.node("press").await;
        let mut own = press.subscribe("press/#").await.unwrap();
        press.publish("press/opened", &7).await.unwrap();
        let event = event(&mut own).await;
        assert_eq!((event.publisher().as_str(), event.payload.decode::<i32>().unwrap()), ("press", 7));
    }

    async fn what_is_no_name_is_refused_with_what_would_be_right(stage: Stage) {
        let press = stage.node("press").await;
        for (name, words) in [
            ("", "a name cannot be empty: it has 1 to 512 bytes"),
            ("a//b", "`a//b` has an empty word: there is exactly one slash between two words, and none at either end"),
            ("a/+", "`a/+` has a `+`, which only a pattern may have: a name stands for one thing"),
            ("$hub/a", "publish on `$hub/a`: names that begin with `$` are the hub's own"),
        ] {
            let error = press.publish(name, &1).await.unwrap_err();
            assert_eq!(error.to_string(), words);
            assert_eq!(error.outcome(), Outcome::NotDone);
            assert_eq!(matches!(error, Error::Unauthorized(_)), name.starts_with('$'));
        }
        for (pattern, words) in [
            ("a/#/b", "`a/#/b` goes on after `#`: it stands for all the rest, so it can only be the last word"),
            ("a+", "`a+` has a wildcard inside the word `a+`: `+` and `#` stand only as whole words"),
        ] {
            let error = press.subscribe(pattern).await.unwrap_err();
            assert_eq!(error.to_string(), words);
            assert!(matches!(error, Error::BadName(_)));
        }
        // None of that was published, and the link lives.
        let mut all = press.subscribe("#").await.unwrap();
        press.publish("a", &1).await.unwrap();
        assert_eq!(event(&mut all).await.seq, 1);
    }
}

/// What the hub takes is a setting, and a node learns it when it joins.
#[tokio::test]
async fn a_hub_takes_payloads_as_long_as_it_is_told() {
    let options = HubOptions { payload_bytes_max: 3 << 20, ..HubOptions::default() };
    let stage = Stage::with(Transport::Tcp, options).await;
    let press = stage.node("press").await;
    let mut all = press.subscribe("#").await.unwrap();
    press.publish_payload("bulk", &Payload::raw(vec![1; 3 << 20]), &Headers::new()).await.unwrap();
    assert_eq!(event(&mut all).await.payload.bytes.len(), 3 << 20);
    let error = press.publish_payload("bulk", &Payload::raw(vec![1; (3 << 20) + 1]), &Headers::new()).await;
    assert_eq!(error.unwrap_err().code(), Code::TooLarge);
}
