//! Flow files: what the checker finds, what it accepts, how flows run and look.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashMap;

use am_core::{Ctx, DeviceId, Result, Timestamp};
use am_pipeline::flow::{Checker, OnError, Priority, chain};
use am_pipeline::options::{OptionSpec, OptionType};
use am_pipeline::{Attempts, Batch, Origin, Outcome, Output, Partition, Processor, ProcessorSpec, Registry};
use am_schema::{Catalogue, Inputs, ProcessorIdentity, Reading, v1};
use async_trait::async_trait;
use proptest::prelude::*;

/// Makes a reading of another kind of each.
struct Derive(ProcessorIdentity, &'static str, u32);

#[async_trait]
impl Processor for Derive {
    async fn process(&mut self, _: &Ctx, batch: Batch, out: &mut Output) -> Result<()> {
        let kind = Catalogue::builtin().get(self.1).unwrap();
        for item in batch {
            self.2 += 1;
            let made = Reading::builder(kind, item.device().clone(), item.recorded_at())
                .payload_bytes(Vec::new())
                .derived_from(&self.0, Inputs::of([item.reading()]), 0)
                .build();
            match made {
                Ok(r) => {
                    out.emit_from(&item, r);
                    out.absorb(item);
                }
                Err(e) => out.park(item, e),
            }
        }
        Ok(())
    }

    async fn flush(&mut self, _: &Ctx, _: &mut Output) -> Result<()> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(self.2.to_le_bytes().to_vec())
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.2 = state.first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
        Ok(())
    }
}

const CLEANED: &str = "media.text.ocr_cleaned";
const EXTRACTED: &str = "media.text.ocr_extracted";

fn registry() -> Registry {
    let mut r = Registry::builtin().unwrap();
    let derive = |name, from: &str, to: &'static str| {
        ProcessorSpec::new(name, "1", "For tests.", move |s| Ok(Box::new(Derive(s.identity.clone(), to, 0))))
            .inputs(&[from])
            .unwrap()
            .outputs(&[to])
            .options(vec![
                OptionSpec::new("model", OptionType::Text, "which model").default("small"),
                OptionSpec::new("size", OptionType::Duration, "how long"),
            ])
    };
    r.add(derive("image.ocr", "device.image.screenshot.raw", EXTRACTED)).unwrap();
    r.add(derive("text.clean", EXTRACTED, CLEANED).key(Partition::None)).unwrap();
    r
}

const SCREENSHOT: &str = r#"
flow: screenshot
priority: high
input: [device.image.screenshot.raw]
target: 10s
steps:
  - dedupe: {processor: dedupe, horizon: 10m}
  - ocr:    {processor: image.ocr, model: pp-ocr-v4, parallelism: 2, timeout: 30s, on_error: park}
  - clean:  {processor: text.clean, on_error: discard}
output: [media.text.ocr_extracted, media.text.ocr_cleaned]
"#;

const ROUTES: &str = r#"
routes:
  - name: face_detection
    when: {all: [{field: kind, equals: device.image.camera.raw}, {field: metadata.detect_faces, equals: "true"}]}
    to: {remote: yunet, url: "http://yunet:8000/api/v1/detect", timeout: 15s, transform: base64, breaker: default}
    emits: media.image.faces_detected
"#;

fn checker() -> Checker {
    Checker::new(registry(), Catalogue::builtin())
}

#[test]
fn a_good_flow_and_good_routes_are_read_as_they_stand() {
    let flows = checker().load(&[("screenshot.yaml", SCREENSHOT), ("routes.yaml", ROUTES)]).unwrap();
    let f = &flows.flows["screenshot"];
    assert_eq!((f.priority, f.target.unwrap().as_secs(), f.key()), (Priority::High, 10, Partition::Device));
    assert_eq!(f.steps[1].parallelism, 2);
    assert_eq!((f.steps[1].on_error, f.steps[2].on_error), (OnError::Park, OnError::Discard));
    assert_eq!(f.steps[1].setup.config.text("model"), Some("pp-ocr-v4"));
    assert_eq!(f.steps[2].setup.config.text("model"), Some("small"));
    assert_eq!(flows.taking("device.image.screenshot.raw").len(), 1);
    let route = &flows.routes[0];
    assert_eq!((route.to.name.as_str(), route.to.timeout.unwrap().as_secs()), ("yunet", 15));
    assert!(flows.route(&support::beat(1, 1)).is_none());
}

#[test]
fn every_problem_is_told_at_once_with_line_column_and_caret() {
    let bad = r#"flow: bad
priority: urgent
input: [device.image.screenshott.raw, device.image.screenshot.raw]
stepps: []
steps:
  - a: {processor: image.orc}
  - b: {processor: image.ocr, modell: x, size: 5}
  - b: {processor: image.ocr, parallelism: 0, timeout: soon}
  - c: {}
output: [device.image.screenshot.raw]
"#;
    let problems = checker().check(&[("bad.yaml", bad)]).unwrap_err();
    let text: Vec<String> = problems.iter().map(|p| format!("{}:{} {}", p.place.line, p.place.column, p.message)).collect();
    let wanted = [
        "2:11 priority is \"urgent\", expected one of low, medium, high",
        "3:9 there is no topic device.image.screenshott.raw; did you mean device.image.screenshot.raw?",
        "4:1 a flow has no 'stepps'; did you mean steps?",
        "6:20 there is no processor image.orc; did you mean image.ocr?",
        "7:31 there is no option 'modell'; did you mean 'model'?",
        "7:48 'size' is 5, expected a time such as 250ms, 5s, 10m, 1h",
        "8:44 parallelism is a whole number from 1 to 1024",
        "8:56 timeout is \"soon\"",
        "9:5 step c names no processor",
        "10:10 device.image.screenshot.raw is raw",
    ];
    for w in wanted {
        assert!(text.iter().any(|t| t.starts_with(w)), "{w:?} is not in\n{}", text.join("\n"));
    }
    assert_eq!(
        problems.iter().find(|p| p.place.line == 6).unwrap().to_string(),
        "bad.yaml:6:20: there is no processor image.orc; did you mean image.ocr?\n    6 |   - a: {processor: image.orc}\n      |                    ^^^^^^^^^"
    );
}

#[test]
fn steps_that_do_not_fit_circles_and_double_names_are_found_over_all_files() {
    let order = SCREENSHOT.replace("image.ocr, model: pp-ocr-v4,", "text.clean,");
    let problems = checker().check(&[("order.yaml", &order)]).unwrap_err();
    let nothing = problems.iter().find(|p| p.message.contains("step ocr gets nothing: text.clean takes media.text.ocr_extracted"));
    assert_eq!(nothing.unwrap_or_else(|| panic!("{problems:?}")).place.line, 8);

    let one = "flow: one\ninput: [media.text.ocr_cleaned]\nsteps:\n  - x: {processor: back}\noutput: [media.text.ocr_extracted]\n";
    let two = "flow: two\ninput: [media.text.ocr_extracted]\nsteps:\n  - x: {processor: text.clean}\noutput: [media.text.ocr_cleaned]\n";
    let mut r = registry();
    let back = ProcessorSpec::new("back", "1", "For tests.", |s| Ok(Box::new(Derive(s.identity.clone(), EXTRACTED, 0))));
    r.add(back.outputs(&[EXTRACTED])).unwrap();
    let problems = Checker::new(r, Catalogue::builtin()).check(&[("1.yaml", one), ("2.yaml", two), ("3.yaml", two)]).unwrap_err();
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let all = text.join("\n");
    assert!(
        all.contains(
            "1.yaml:1:7: flows feed each other in a circle: one -(media.text.ocr_extracted)-> two -(media.text.ocr_cleaned)-> one"
        ),
        "{all}"
    );
    assert!(all.contains("3.yaml:1:7: there is another flow named two, in 2.yaml:1"), "{all}");

    let nowhere = checker().without_dead_letters().check(&[("s.yaml", SCREENSHOT)]).unwrap_err();
    assert_eq!(nowhere.iter().filter(|p| p.message.contains("no place for dead letters")).count(), 2);
}

#[test]
fn conditions_of_routes_are_checked_in_place() {
    let bad = ROUTES.replace("field: kind,", "field: knd,").replace("http://yunet", "yunet").replace("emits: media", "emits: medea");
    let problems = checker().check(&[("r.yaml", &bad)]).unwrap_err();
    let text: Vec<String> = problems.iter().map(|p| format!("{}:{} {}", p.place.line, p.place.column, p.message)).collect();
    assert!(text[0].starts_with("4:26 no kind has a field \"knd\""), "{text:?}");
    assert!(text.iter().any(|t| t.starts_with("5:30 yunet:8000/api/v1/detect is not an http")), "{text:?}");
    assert!(text.iter().any(|t| t.starts_with("6:12 there is no topic medea.image.faces_detected")), "{text:?}");
}

#[test]
fn yaml_that_is_none_or_could_grow_is_refused_with_its_place() {
    for (text, wanted) in [
        ("flow: [", "bad.yaml:"),
        ("a: &x 1\nb: *x", "anchors are not used"),
        ("a: 1\na: 2", "a stands twice"),
        ("", "the file is empty"),
        ("- 1", "a flow file is a map"),
        ("a: !!binary x", "tags are not used"),
        (&"[".repeat(100), "nested"),
    ] {
        let problems = checker().check(&[("bad.yaml", text)]).unwrap_err();
        assert!(problems[0].to_string().contains(wanted), "{text:?}: {}", problems[0]);
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_checker_panic(text in "[ -~\n]{0,200}", cut in 0usize..400) {
        let _ = checker().check(&[("a", text.as_str())]);
        let half: String = SCREENSHOT.chars().take(cut).chain(text.chars()).collect();
        let _ = checker().check(&[("a", half.as_str()), ("b", ROUTES)]);
    }
}

#[test]
fn a_drawing_joins_flows_by_their_topics() {
    let flows = checker().load(&[("s.yaml", SCREENSHOT), ("r.yaml", ROUTES)]).unwrap();
    let drawn = flows.draw();
    for line in [
        "flowchart LR",
        "subgraph f0[\"screenshot\"]",
        "f0s1[\"ocr: image.ocr\"]",
        "t0([\"device.image.screenshot.raw\"])",
        "t0 --> f0s0",
        "f0s0 --> f0s1",
        "f0s1 --> f0s2",
        "route0{{\"face_detection\"}} --> remote0[/\"yunet\"/]",
    ] {
        assert!(drawn.contains(line), "{line:?} is not in\n{drawn}");
    }
}

fn screenshot(n: i64) -> Reading {
    let kind = Catalogue::builtin().get("device.image.screenshot.raw").unwrap();
    let payload = v1::Image { width: 100 + n as u32, height: 100, data: bytes::Bytes::from_static(b"png"), ..Default::default() };
    Reading::builder(kind, DeviceId::new("laptop").unwrap(), Timestamp::from_second(1_772_352_000 + n)).payload(&payload).build().unwrap()
}

#[tokio::test]
async fn a_chain_runs_the_steps_gives_the_outputs_and_carries_on_from_its_snapshot() {
    let flows = checker().load(&[("s.yaml", SCREENSHOT)]).unwrap();
    let flow = &flows.flows["screenshot"];
    let ctx = support::ctx();
    let run = async |chain: &mut am_pipeline::flow::Chain, readings: Vec<Reading>| {
        let (ledger, batch) = Batch::issue(readings, Origin::Live);
        let mut out = Output::new();
        chain.process(&ctx, batch, &mut out).await.unwrap();
        let decided = out.take();
        let mut kinds: HashMap<&str, usize> = HashMap::new();
        for item in decided.emitted {
            *kinds.entry(item.kind().topic()).or_default() += 1;
            item.settle(Outcome::Delivered);
        }
        am_pipeline::Receipt::settle_all(decided.absorbed, &Outcome::Delivered);
        (kinds, ledger.outcomes())
    };
    let attempts = Attempts::default();
    let mut first = chain(flow, &attempts).unwrap();
    let (kinds, outcomes) = run(&mut first, vec![screenshot(0), screenshot(1), screenshot(0)]).await;
    assert_eq!((kinds.get(EXTRACTED), kinds.get(CLEANED)), (Some(&2), Some(&2)));
    assert!(matches!(outcomes[..], [Some(Outcome::Delivered), Some(Outcome::Delivered), Some(Outcome::Discarded(_))]), "{outcomes:?}");
    let mut second = chain(flow, &attempts).unwrap();
    second.restore(&first.snapshot().unwrap()).unwrap();
    let (_, outcomes) = run(&mut second, vec![screenshot(1), screenshot(2)]).await;
    assert!(matches!(outcomes[..], [Some(Outcome::Discarded(_)), Some(Outcome::Delivered)]), "the state knows what was seen: {outcomes:?}");
    assert!(second.restore(&[9, 9]).is_err());
    assert_eq!(second.restore(&[1, 255, 0, 0, 0, 0, 0, 0, 0]).unwrap_err().code(), am_core::Code::UNDECODABLE);
}
