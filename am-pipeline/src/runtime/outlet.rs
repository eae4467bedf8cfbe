//! The way from one node to the next ones.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use am_core::{Code, Error};
use tokio::sync::mpsc::Sender;

use super::status::Counters;
use crate::{Item, Partition};

/// One consumer: its lanes and how items are spread over them.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) port: u16,
    pub(super) lanes: Vec<Sender<Vec<Item>>>,
    pub(super) key: Partition,
    pub(super) counters: Arc<Counters>,
    pub(super) turn: usize,
}

impl Way {
    /// Waits until the lanes have room. A lane that is gone lets its items fall, which says Retry.
    async fn send(&mut self, items: Vec<Item>) {
        if items.is_empty() {
            return;
        }
        self.counters.add(|c| &c.depth, items.len());
        match (self.lanes.as_slice(), self.key) {
            ([], _) => self.counters.leave(items.len()),
            ([only], _) | ([only, ..], Partition::Scope) => give(only, items, &self.counters).await,
            (lanes, Partition::None) => {
                self.turn = (self.turn + 1) % lanes.len().max(1);
                if let Some(lane) = lanes.get(self.turn) {
                    give(lane, items, &self.counters).await;
                }
            }
            (lanes, Partition::Device) => {
                let mut parts: Vec<Vec<Item>> = lanes.iter().map(|_| Vec::new()).collect();
                for item in items {
                    let mut h = DefaultHasher::new();
                    item.device().hash(&mut h);
                    if let Some(part) = parts.get_mut((h.finish() % lanes.len() as u64) as usize) {
                        part.push(item);
                    }
                }
                for (lane, part) in lanes.iter().zip(parts) {
                    if !part.is_empty() {
                        give(lane, part, &self.counters).await;
                    }
                }
            }
        }
    }
}

async fn give(lane: &Sender<Vec<Item>>, items: Vec<Item>, counters: &Counters) {
    if let Err(refused) = lane.send(items).await {
        counters.leave(refused.0.len());
    }
}

/// All consumers of a node.
#[derive(Clone, Default)]
pub(super) struct Outlet {
    pub(super) ways: Vec<Way>,
}

impl Outlet {
    /// Hands items to every consumer of their port; returns those whose port leads nowhere.
    pub(super) async fn send(&mut self, items: Vec<Item>) -> Vec<(Item, Error)> {
        if let [only] = self.ways.as_mut_slice()
            && items.iter().all(|i| i.port == only.port)
        {
            only.send(items).await;
            return Vec::new();
        }
        let mut parts: Vec<Vec<Item>> = self.ways.iter().map(|_| Vec::new()).collect();
        let mut lost = Vec::new();
        for item in items {
            let port = item.port;
            let mut places = self.ways.iter().zip(&mut parts).filter(|(w, _)| w.port == port).map(|(_, p)| p).peekable();
            if places.peek().is_none() {
                let e = Error::new(Code::PROCESSOR_FAILED, format!("the way out number {port} leads nowhere"));
                lost.push((item, e.op("pipeline.route")));
                continue;
            }
            while let Some(place) = places.next() {
                if places.peek().is_some() {
                    place.push(item.split(item.reading().clone()));
                } else {
                    place.push(item);
                    break;
                }
            }
        }
        for (way, part) in self.ways.iter_mut().zip(parts) {
            way.send(part).await;
        }
        lost
    }
}
