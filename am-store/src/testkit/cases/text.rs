//! Ranked full-text search.

use am_core::Code;
use am_schema::Reading;

use crate::model::TextQuery;
use crate::testkit::corpus::{self, Ranked};
use crate::testkit::kit::{Fault, Kit, NOTE, Outcome, SCORE, holds, refused, same, same_list, t};

cases! {
    "text.words" "P01" "texts with any of the words are found, those with more rank higher" => words;
    "text.corpus" "P01" "the ten best of the kit's corpus are those of a plain BM25, score by score" => corpus_hits;
    "text.corpus_in_parts" "P01" "the order and size of batches changes no hit" => corpus_in_parts;
    "text.phrase" "P01" "a phrase is found side by side, not across fields" => phrase;
    "text.excluded" "P01" "an excluded word or phrase keeps a text out" => excluded;
    "text.ties" "P01" "equal scores come in the order of scans" => ties;
    "text.folding" "P01" "case, marks, width and English endings make no difference" => folding;
    "text.narrowed" "P01" "kinds and times narrow the hits and not the statistics" => narrowed;
    "text.at_once" "P11" "a text is found as soon as it was acknowledged, and the answer says how fresh it is" => at_once;
    "text.refused" "P09" "a search without a word, or with a limit out of range, is refused" => bad_queries;
}

async fn notes(kit: &Kit, texts: &[&str]) -> Result<Vec<Reading>, Fault> {
    let all: Vec<Reading> = texts.iter().enumerate().map(|(n, s)| kit.note(n as i64, s)).collect::<Result<_, _>>()?;
    kit.put_new(&all).await?;
    Ok(all)
}

async fn search(kit: &Kit, text: &str) -> Result<Vec<Reading>, Fault> {
    let found = kit.backend().text.search(&kit.ctx(), &TextQuery::new(text)).await?;
    let falling = found.hits.windows(2).all(|w| matches!(w, [a, b] if a.score >= b.score));
    holds("scores fall", falling && found.hits.iter().all(|h| h.score > 0.0))?;
    Ok(found.hits.into_iter().map(|h| h.stored.reading).collect())
}

fn pick(all: &[Reading], want: &[usize]) -> Vec<Reading> {
    want.iter().filter_map(|n| all.get(*n)).cloned().collect()
}

async fn words(kit: Kit) -> Outcome {
    let all = notes(&kit, &["red", "red kite", "blue kite sky", "green sea"]).await?;
    same_list("red kite", &search(&kit, "red kite").await?, &pick(&all, &[1, 0, 2]))?;
    same_list("nothing", &search(&kit, "yellow").await?, &[])?;
    same_list("no word twice counts twice", &search(&kit, "red red red kite").await?, &pick(&all, &[1, 0, 2]))
}

async fn corpus_hits(kit: Kit) -> Outcome {
    let texts = corpus::texts();
    let all: Vec<Reading> = texts.iter().enumerate().map(|(n, s)| kit.note(n as i64, s)).collect::<Result<_, _>>()?;
    kit.put_new(&all).await?;
    compare(&kit, &all, &texts).await
}

async fn corpus_in_parts(kit: Kit) -> Outcome {
    let texts = corpus::texts();
    let all: Vec<Reading> = texts.iter().enumerate().map(|(n, s)| kit.note(n as i64, s)).collect::<Result<_, _>>()?;
    for (n, batch) in all.rchunks(17).enumerate() {
        kit.put_new(batch).await?;
        if n == 3 {
            kit.backend().maintenance.tidy().await?;
        }
    }
    kit.put(&all).await?;
    compare(&kit, &all, &texts).await
}

async fn compare(kit: &Kit, all: &[Reading], texts: &[String]) -> Outcome {
    for query in corpus::queries().iter().copied() {
        let want = corpus::best(texts, query, 10);
        let found = kit.backend().text.search(&kit.ctx(), &TextQuery::new(query)).await?.hits;
        let at = |r: &Reading| all.iter().position(|a| a == r).unwrap_or(usize::MAX);
        let got: Vec<usize> = found.iter().map(|h| at(&h.stored.reading)).collect();
        same_list(&format!("the hits of {query:?}"), &got, &want.iter().map(|w| w.text).collect::<Vec<_>>())?;
        let off = found.iter().zip(&want).find(|(h, Ranked { score, .. })| (h.score - score).abs() > 1e-9 * score.max(1.0));
        if let Some((h, w)) = off {
            return Err(crate::testkit::kit::fault(format!(
                "the score of {query:?} in text {}: got {}, wanted {}",
                w.text, h.score, w.score
            )));
        }
    }
    Ok(())
}

async fn phrase(kit: Kit) -> Outcome {
    let mut all = notes(&kit, &["the quick brown fox", "brown quick fox", "quick and brown", "quickly, brown dog"]).await?;
    let b = Reading::builder(kit.kind(NOTE)?, am_core::DeviceId::new("phone")?, t(50));
    let split = b.payload(&am_schema::v1::Note { title: "very quick".into(), text: "brown bear".into(), ..Default::default() }).build()?;
    kit.put_new(std::slice::from_ref(&split)).await?;
    all.push(split);
    same_list("a phrase", &search(&kit, "\"quick brown\"").await?, &pick(&all, &[3, 0]))?;
    same_list("a phrase, and a word that ranks", &search(&kit, "fox bear \"quick brown\"").await?, &pick(&all, &[0, 3]))?;
    same("a phrase that nobody wrote", search(&kit, "\"brown fox quick\"").await?.len(), 0)
}

async fn excluded(kit: Kit) -> Outcome {
    let all = notes(&kit, &["red kite", "red kite hill", "red hill kite", "blue kite"]).await?;
    same_list("without a word", &search(&kit, "kite -hill -blue").await?, &pick(&all, &[0]))?;
    let found = search(&kit, "kite -\"kite hill\"").await?;
    same("without a phrase", (found.len(), found.iter().any(|r| Some(r) == all.get(1))), (3, false))
}

async fn ties(kit: Kit) -> Outcome {
    let mut all: Vec<Reading> = (0..30).map(|n| kit.note(100 - n, "same words here")).collect::<Result<_, _>>()?;
    kit.put_new(&all).await?;
    all.sort_by_key(crate::cursor::Place::of);
    let mut q = TextQuery::new("words");
    for limit in [5, 30, 1_000] {
        q.limit = limit;
        let got: Vec<Reading> = kit.backend().text.search(&kit.ctx(), &q).await?.hits.into_iter().map(|h| h.stored.reading).collect();
        same_list(&format!("the first {limit}"), &got, all.get(..limit.min(30)).unwrap_or_default())?;
    }
    Ok(())
}

async fn folding(kit: Kit) -> Outcome {
    let texts = ["Überraschung im CAFÉ", "running shoes", "ｆｕｌｌ ｗｉｄｔｈ", "北京の夜", "naïve résumé", "Ada’s notes"];
    let all = notes(&kit, &texts).await?;
    for (query, want) in [
        ("uberraschung", 0),
        ("cafe", 0),
        ("CAFE\u{301}", 0),
        ("runs", 1),
        ("run shoe", 1),
        ("full", 2),
        ("\"北京\"", 3),
        ("RESUME", 4),
        ("ada", 5),
        ("\"ada's note\"", 5),
    ] {
        same_list(query, &search(&kit, query).await?, &pick(&all, &[want]))?;
    }
    Ok(())
}

async fn narrowed(kit: Kit) -> Outcome {
    let all = notes(&kit, &["kite one", "kite two", "kite three kite"]).await?;
    kit.derive("sleep", &[kit.derived("1", &all, (500, 560), 0.5, "kite")?]).await?;
    let every = kit.backend().text.search(&kit.ctx(), &TextQuery::new("kite")).await?.hits;
    same("everywhere", every.len(), 4)?;
    for (kinds, from, to) in [(vec![kit.kind(NOTE)?], -10, 1_000), (vec![kit.kind(SCORE)?], -10, 1_000), (vec![], 1, 3), (vec![], 3, 3)] {
        let q = TextQuery { kinds: kinds.clone(), from: t(from), to: t(to), ..TextQuery::new("kite") };
        let got = kit.backend().text.search(&kit.ctx(), &q).await?.hits;
        let fits = |r: &Reading| (kinds.is_empty() || kinds.contains(&r.kind())) && r.recorded_at() >= t(from) && r.recorded_at() < t(to);
        let want: Vec<_> = every.iter().filter(|h| fits(&h.stored.reading)).cloned().collect();
        same_list("the same hits and scores", &got, &want)?;
    }
    Ok(())
}

async fn at_once(kit: Kit) -> Outcome {
    for n in 0..10 {
        kit.put_new(&[kit.note(n, &format!("word{n} kite"))?]).await?;
        let found = kit.backend().text.search(&kit.ctx(), &TextQuery::new(format!("word{n}"))).await?;
        same("found", found.hits.len(), 1)?;
        same("legs", found.legs, vec!["text"])?;
        same("how fresh", found.indexed_to, kit.backend().feed.head().await?)?;
    }
    Ok(())
}

async fn bad_queries(kit: Kit) -> Outcome {
    notes(&kit, &["kite"]).await?;
    for text in ["", "  ", "-kite", "\"\"", "?!"] {
        refused(&format!("{text:?}"), kit.backend().text.search(&kit.ctx(), &TextQuery::new(text)).await, Code::BAD_QUERY)?;
    }
    for limit in [0, 1_001] {
        let q = TextQuery { limit, ..TextQuery::new("kite") };
        refused(&format!("a limit of {limit}"), kit.backend().text.search(&kit.ctx(), &q).await, Code::BAD_QUERY)?;
    }
    Ok(())
}
