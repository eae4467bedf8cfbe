//! Memory for messages, asked for before they are read (P10).
//!
//! A message is charged when its header passes, so that what is read is always covered; while there is no room, its call is
//! not read on, and HTTP/2 flow control holds the sender back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use am_core::{BoxFuture, Clock, Code, Error};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::status;

/// What may be in memory at once, in bytes.
pub(crate) struct Budget {
    room: Arc<Semaphore>,
    total: usize,
    message_bytes: usize,
    wait: Duration,
    stall: Duration,
    clock: Arc<dyn Clock>,
}

impl Budget {
    pub(crate) fn new(total: usize, message_bytes: usize, wait: Duration, stall: Duration, clock: Arc<dyn Clock>) -> Self {
        Budget { room: Arc::new(Semaphore::new(total)), total, message_bytes, wait, stall, clock }
    }

    /// Bytes that are taken now.
    pub(crate) fn used(&self) -> usize {
        self.total.saturating_sub(self.room.available_permits())
    }

    /// Less than a twentieth is left.
    pub(crate) fn is_short(&self) -> bool {
        self.room.available_permits() < self.total / 20
    }

    /// A message counts twice, because it is decoded, and a little more for its answer.
    fn cost(&self, bytes: usize) -> u32 {
        u32::try_from((2 * bytes + 1_024).min(self.total)).unwrap_or(u32::MAX)
    }
}

/// What one call has been charged.
pub(crate) struct Ledger {
    budget: Arc<Budget>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    permit: Option<OwnedSemaphorePermit>,
    charges: VecDeque<u32>,
}

/// The memory of one message; given back when dropped.
#[derive(Default)]
pub(crate) struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// Adds another message's memory.
    pub(crate) fn join(&mut self, other: Room) {
        match (&mut self.0, other.0) {
            (Some(a), Some(b)) => a.merge(b),
            (a @ None, b) => *a = b,
            (Some(_), None) => {}
        }
    }
}

impl Ledger {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Ledger { budget, held: Mutex::default() }
    }

    /// The memory of the next message, now that its unpacked size is known.
    pub(crate) fn take(&self, bytes: usize) -> Room {
        let mut h = self.held.lock();
        let charged = h.charges.pop_front().unwrap_or(0);
        let keep = charged.min(self.budget.cost(bytes)) as usize;
        let Some(permit) = h.permit.as_mut() else { return Room(None) };
        if let Some(surplus) = permit.split((charged as usize - keep).min(permit.num_permits())) {
            drop(surplus);
        }
        Room(permit.split(keep.min(permit.num_permits())))
    }

    fn admit(&self, permit: OwnedSemaphorePermit, charges: &[u32]) {
        let mut h = self.held.lock();
        match &mut h.permit {
            Some(p) => p.merge(permit),
            none => *none = Some(permit),
        }
        h.charges.extend(charges);
    }
}

/// Follows the length-prefixed messages of a gRPC body.
#[derive(Default)]
struct Framing {
    header: [u8; 5],
    have: usize,
    left: usize,
}

impl Framing {
    /// Adds `(packed, length)` of each message whose header ends within `data`.
    fn follow(&mut self, mut data: &[u8], found: &mut impl FnMut(bool, usize)) {
        while !data.is_empty() {
            if self.left > 0 {
                let n = self.left.min(data.len());
                self.left -= n;
                data = data.get(n..).unwrap_or_default();
                continue;
            }
            while let (Some(slot), Some((first, rest))) = (self.header.get_mut(self.have), data.split_first()) {
                (*slot, data) = (*first, rest);
                self.have += 1;
            }
            if self.have == self.header.len() {
                let [flag, a, b, c, d] = self.header;
                (self.have, self.left) = (0, u32::from_be_bytes([a, b, c, d]) as usize);
                found(flag == 1, self.left);
            }
        }
    }

    fn within_message(&self) -> bool {
        self.have > 0 || self.left > 0
    }
}

type Waiting = BoxFuture<'static, Option<OwnedSemaphorePermit>>;

/// A request body that is read only as far as there is memory.
pub(crate) struct Metered<B> {
    body: B,
    ledger: Arc<Ledger>,
    framing: Framing,
    charges: Vec<u32>,
    parked: Option<(Bytes, Waiting)>,
    stall: Option<BoxFuture<'static, ()>>,
}

impl<B> Metered<B> {
    pub(crate) fn new(body: B, ledger: Arc<Ledger>) -> Self {
        Metered { body, ledger, framing: Framing::default(), charges: Vec::new(), parked: None, stall: None }
    }

    /// Charges the messages that begin within `data`; true when they have their memory already.
    fn charge(&mut self, data: &Bytes) -> bool {
        let budget = self.ledger.budget.clone();
        let charges = &mut self.charges;
        charges.clear();
        self.framing.follow(data, &mut |packed, len| {
            // Nobody knows yet how large a packed message is; the decoder's limit bounds it.
            let bytes = if packed { budget.message_bytes } else { len.min(budget.message_bytes) };
            charges.push(budget.cost(bytes));
        });
        let sum: u64 = charges.iter().copied().map(u64::from).sum();
        if sum == 0 {
            return true;
        }
        let n = u32::try_from(sum.min(budget.total as u64)).unwrap_or(u32::MAX);
        if let Ok(permit) = budget.room.clone().try_acquire_many_owned(n) {
            self.ledger.admit(permit, charges);
            return true;
        }
        let waiting: Waiting = Box::pin(async move {
            let room = budget.room.clone().acquire_many_owned(n);
            tokio::select! {
                permit = room => permit.ok(),
                () = budget.clock.sleep(budget.wait) => None,
            }
        });
        self.parked = Some((data.clone(), waiting));
        false
    }

    fn poll_parked(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some((_, waiting)) = &mut self.parked else { return Poll::Ready(None) };
        let permit = std::task::ready!(waiting.as_mut().poll(cx));
        let data = self.parked.take().map(|p| p.0).unwrap_or_default();
        match permit {
            Some(permit) => {
                self.ledger.admit(permit, &self.charges);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            None => {
                let e = Error::new(Code::OVERLOADED, "no memory for another message became free in time").op("grpc.read");
                Poll::Ready(Some(Err(status::of(&e))))
            }
        }
    }
}

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Body for Metered<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.parked.is_some() {
            return this.poll_parked(cx);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.stall = None;
                let covered = frame.data_ref().is_none_or(|data| this.charge(&data.clone()));
                if covered { Poll::Ready(Some(Ok(frame))) } else { this.poll_parked(cx) }
            }
            Poll::Pending if this.framing.within_message() => {
                let budget = &this.ledger.budget;
                let stall = this.stall.get_or_insert_with(|| budget.clock.sleep(budget.stall));
                match stall.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        let e = Error::new(Code::TIMED_OUT, "the rest of a message did not arrive in time").op("grpc.read");
                        Poll::Ready(Some(Err(status::of(&e))))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.parked.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use am_core::{ManualClock, Timestamp};
    use std::task::Waker;

    struct Chunks(Vec<Bytes>, bool);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = Status;
        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            match self.0.is_empty() {
                false => Poll::Ready(Some(Ok(Frame::data(self.0.remove(0))))),
                true if self.1 => Poll::Ready(None),
                true => Poll::Pending,
            }
        }
    }

    fn message(flag: u8, n: usize) -> Vec<u8> {
        let mut v = vec![flag];
        v.extend((n as u32).to_be_bytes());
        v.resize(5 + n, 0);
        v
    }

    fn budget(clock: &ManualClock) -> Arc<Budget> {
        let s = Duration::from_secs(1);
        Arc::new(Budget::new(10_000, 2_000, s, 2 * s, Arc::new(clock.clone())))
    }

    fn poll(m: &mut Metered<Chunks>) -> Poll<Option<Result<usize, Status>>> {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(m).poll_frame(&mut cx).map(|f| f.map(|f| f.map(|f| f.into_data().unwrap().len())))
    }

    #[test]
    fn lengths_are_found_however_the_bytes_are_cut() {
        let all: Vec<u8> = [message(0, 3), message(1, 0), message(0, 700)].concat();
        for cut in 1..20 {
            let (mut f, mut seen) = (Framing::default(), Vec::new());
            for piece in all.chunks(cut) {
                f.follow(piece, &mut |p, n| seen.push((p, n)));
            }
            assert_eq!(seen, [(false, 3), (true, 0), (false, 700)]);
            assert!(!f.within_message());
        }
    }

    #[test]
    fn custody_p10_a_call_is_not_read_while_there_is_no_memory_and_then_ends_as_overloaded() {
        let clock = ManualClock::new(Timestamp::from_second(0));
        let budget = budget(&clock);
        let ledger = Arc::new(Ledger::new(budget.clone()));
        let chunks = vec![message(0, 2_000).into(), message(0, 2_000).into(), message(0, 2_000).into()];
        let mut m = Metered::new(Chunks(chunks, true), ledger.clone());
        assert!(matches!(poll(&mut m), Poll::Ready(Some(Ok(2_005)))));
        assert_eq!(budget.used(), 5_024);
        let first = ledger.take(2_000);
        assert!(poll(&mut m).is_pending());
        drop(first);
        assert!(matches!(poll(&mut m), Poll::Ready(Some(Ok(2_005)))));
        assert!(poll(&mut m).is_pending());
        clock.advance(Duration::from_secs(1));
        let Poll::Ready(Some(Err(s))) = poll(&mut m) else { panic!("not ended") };
        assert!(s.message().contains("AM-4001"), "{s}");
        drop((m, ledger));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_packed_message_is_charged_in_full_until_its_size_is_known() {
        let clock = ManualClock::new(Timestamp::from_second(0));
        let budget = budget(&clock);
        let ledger = Arc::new(Ledger::new(budget.clone()));
        let mut m = Metered::new(Chunks(vec![message(1, 10).into()], true), ledger.clone());
        assert!(poll(&mut m).is_ready());
        assert_eq!(budget.used(), 5_024);
        let mut room = ledger.take(100);
        assert_eq!(budget.used(), 1_224);
        room.join(Room::default());
        drop(room);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn custody_p10_a_half_sent_message_ends_its_call() {
        let clock = ManualClock::new(Timestamp::from_second(0));
        let mut m = Metered::new(Chunks(vec![Bytes::from_static(&[0, 0, 0, 1, 0, 7])], false), Arc::new(Ledger::new(budget(&clock))));
        assert!(poll(&mut m).is_ready());
        assert!(poll(&mut m).is_pending());
        clock.advance(Duration::from_secs(2));
        let Poll::Ready(Some(Err(s))) = poll(&mut m) else { panic!("not ended") };
        assert!(s.message().contains("AM-4002"), "{s}");
    }
}
