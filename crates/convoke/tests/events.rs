//! Story: programs publish and subscribe by name.

mod support;

use support::*;

on_every_transport! {
    async fn a_subscriber_gets_what_is_published(stage: Stage) {
        let press = stage.node("press-1").await;
        let panel = stage.node("panel").await;
        let mut opened = panel.subscribe("press/+/opened").await.unwrap();
        press.publish("press/1/opened", &12).await.unwrap();
        let event = event(&mut opened).await;
        assert_eq!((event.topic().as_str(), event.publisher().as_str()), ("press/1/opened", "press-1"));
        assert_eq!(event.payload.decode::<i64>().unwrap(), 12);
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
}
