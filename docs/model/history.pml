/*
 * Coordinators that share one history: set, confirmation, hold, recovery by owners and by peers, takeover, exchange of the
 * latest pointer, crash, pause, delay. README.md says what this stands for, and what it leaves out.
 *
 * -DCOORDINATORS=n  -DPOINTERS=n (moves of the pointer)  -DCRASHES=n  -DSETS=n
 * -DFIRST           begins before the first set; without it, after
 * -DHOSTILE         the store returns any pointer and lies about compare-and-swap
 * -DALONE           a hold ends by time even where a peer is up (a partition of the peers)
 * -DCLOCK           time passes
 * -DPROMPT          the store takes a request, or answers it, in the moment it is sent; answers may be late or lost
 * -DLIVE            peers answer before anybody takes over; for the LTL formula `serves`
 */
#ifndef COORDINATORS
#define COORDINATORS 2
#endif
#ifndef POINTERS
#define POINTERS 4
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef SETS
#define SETS 2
#endif
/* Ticks for which a confirmation is good. */
#define BOUND 1
#define LATE 2

#define DOWN 0
#define EMPTY 1
#define RECOVERY 2
#define ACTIVE 3
#define STALE 4
#define FORKED 5

/* Moves of the pointer. */
#define NONE 0
#define SET 1
#define TAKEOVER 2
#define OWNERS 3

/* A request to the store: not there, on its way, answered, answered with a refusal. */
#define SENT 1
#define DONE 2
#define REFUSED 3

#define bit(p) (1 << (p))
/* p is q, or before it. */
#define upTo(p, q) ((chain[q] & bit(p)) != 0)
#define continues(p, q) (upTo(p, q) || upTo(q, p))

/* The store. Pointers are 1..made; 0 is none. Each stands for all its bytes, and so for its mesh CA key. */
byte store;
byte made;
byte chain[POINTERS + 1];     /* a pointer, and all before it, as bits */
byte since[POINTERS + 1];     /* ticks since it was replaced */

typedef Coordinator {
  byte phase;
  byte known;                 /* the pointer that it serves by; 0: none */
  byte key;                   /* the mesh CA key that it has; a key is numbered as the pointer that names it */
  byte age;                   /* ticks since the read was SENT that confirmed it */
  bool hold;                  /* nobody else is known to have `key` */
  byte read;                  /* a read of the pointer */
  byte readAge;
  byte readValue;
  byte seen;                  /* the store's pointer, which it has no secrets for */
  bool reread;                /* it lost a swap: the store has moved on from `seen` */
  byte given;                 /* what a peer handed over, before the store was asked again */
  byte givenKey;
  byte swap;                  /* a compare-and-swap */
  byte swapAge;
  byte swapKind;
  byte swapFrom;
  byte swapTo;
  byte late;                  /* a swap that nobody waits for any more, kind */
  byte lateFrom;
};
Coordinator c[COORDINATORS];

/* What must not happen. Each is set where it happens, so that a counterexample says by its name what it is of. */
bool twoHistories;
bool twoMeshCas;
bool issuedTooLate;
bool setLost;
bool meshCaLost;
bool wentBack;
bool falseAlarm;
bool servedFork;
bool servedReplaced;
bool outOfPointers;
inline forbid(fault, condition) {
  if :: condition -> fault = true; assert(!fault) :: else fi
}

byte crashes = CRASHES;
byte sets = SETS;

/* What is observed. Sets that were acknowledged, as bits of pointers; whether a certificate was issued by the latest one. */
byte acknowledged;
bool issued;
/* Two Coordinators told each other pointers of two histories. */
bool diverged[COORDINATORS];
/* One was told of a pointer that continues its own. */
bool replaced[COORDINATORS];
/* A Coordinator began to serve the latest pointer while no other one was up. */
bool alone;

inline forgetRequests(i) {
  c[i].read = NONE; c[i].readAge = 0; c[i].readValue = 0;
}

inline forgetGiven(i) {
  c[i].given = 0; c[i].givenKey = 0;
}

inline enter(i, p, k, at) {
  /* Nobody goes back, or over to another history. */
  forbid(wentBack, c[i].known != 0 && !upTo(c[i].known, p));
  othersContinue(p);
  c[i].known = p; c[i].key = k; c[i].age = at; c[i].phase = ACTIVE; c[i].seen = 0; c[i].reread = false;
#ifndef BUG_OLD_READ
  forgetRequests(i);
#endif
  forgetGiven(i);
#ifdef HOSTILE
  replaced[i] = false
#endif
}

/* Whatever two Coordinators serve is of one history. */
inline othersContinue(p) {
#ifndef HOSTILE
  forbid(twoHistories, !continues(c[0].known, p) || !continues(c[1].known, p));
#if COORDINATORS == 3
  forbid(twoHistories, !continues(c[2].known, p))
#endif
#else
  skip
#endif
}

inline becomeStale(i, p) {
  c[i].phase = STALE; c[i].seen = p; c[i].hold = false; c[i].age = LATE;
#ifdef HOSTILE
  if :: p != 0 -> replaced[i] = true :: else fi
#endif
}

inline rolledBack(i) {
#ifdef HOSTILE
  skip
#else
  forbid(falseAlarm, true)
#endif
}

inline forked(i) {
#ifndef HOSTILE
  forbid(falseAlarm, true);
#endif
  c[i].phase = FORKED; c[i].hold = false; c[i].seen = 0;
  forgetGiven(i)
}

/* The latest pointer that it knows of. */
#define newest(i) (c[i].seen != 0 -> c[i].seen : c[i].known)

/* The store shows a pointer. `at`: the age of the news. */
inline meet(i, p, at) {
  if
#ifdef BUG_BACK_TO_OLDER
  :: p == c[i].known ->
#else
  :: p == c[i].known && c[i].seen == 0 ->
#endif
     c[i].age = at; c[i].phase = ACTIVE; c[i].seen = 0
  :: p != c[i].known && upTo(newest(i), p) -> becomeStale(i, p)
  :: p != newest(i) && upTo(p, newest(i)) -> rolledBack(i)
  :: else -> forked(i)
  fi
}

#if COORDINATORS == 2
#define dropLate() dropLateOf(0); dropLateOf(1)
#else
#define dropLate() dropLateOf(0); dropLateOf(1); dropLateOf(2)
#endif
/* What can't succeed any more is as good as lost. */
inline dropLateOf(n) {
#if !defined(HOSTILE) && !defined(BUG_TAKEOVER_WITHOUT_SWAP)
  if :: c[n].lateFrom != store -> c[n].late = NONE; c[n].lateFrom = 0 :: else fi
#else
  skip
#endif
}

/* The store makes the move, or refuses it. */
inline perform(kind, from, result, next) {
  if
#ifdef HOSTILE
  /* It lets whoever it likes win. */
  :: made < POINTERS ->
#elif defined(BUG_TAKEOVER_WITHOUT_SWAP)
  :: made < POINTERS && (store == from || kind == TAKEOVER) ->
#else
  :: made < POINTERS && store == from ->
#endif
     if :: store != 0 -> since[store] = 0 :: else fi;
     made++;
     chain[made] = chain[from] | bit(made);
     store = made;
     issued = false; alone = false;
     dropLate();
     next = made;
#ifdef LIVE
     /* There are as many as it takes. */
     forbid(outOfPointers, made == POINTERS);
#endif
     result = DONE;
#ifndef HOSTILE
     /* One history, and nothing of what was acknowledged is missing in it. */
     forbid(setLost, (chain[store] & acknowledged) != acknowledged)
#endif
#ifdef HOSTILE
  :: result = REFUSED
#else
  :: else -> result = REFUSED
#endif
  fi
}

#define isUp(i) (c[i].phase != DOWN)
#define confirmed(i) (c[i].phase == ACTIVE && c[i].age <= BOUND)
#ifdef BUG_NO_BOUND
#define mayIssue(i) (c[i].phase == ACTIVE && !c[i].hold)
#else
#define mayIssue(i) (confirmed(i) && !c[i].hold)
#endif
#ifdef BUG_SET_OVERTAKEN
#define inTurn(i) true
#else
/* Changes of the state happen one after another. */
#define inTurn(i) (c[i].swap == NONE)
#endif

#if COORDINATORS == 2
#define othersDown(i) (!isUp(1 - i))
#define another(i, k) (c[1 - i].key == k || c[1 - i].givenKey == k)
#define giver(p) (gives(0, p) || gives(1, p))
#define nobodyKnows (c[0].known == 0 && c[1].known == 0)
#define anybodyServes (mayIssue(0) || mayIssue(1))
#else
#define othersDown(i) (!isUp((i + 1) % 3) && !isUp((i + 2) % 3))
#define another(i, k) (c[(i + 1) % 3].key == k || c[(i + 2) % 3].key == k)
#define giver(p) (gives(0, p) || gives(1, p) || gives(2, p))
#define nobodyKnows (c[0].known == 0 && c[1].known == 0 && c[2].known == 0)
#define anybodyServes (mayIssue(0) || mayIssue(1) || mayIssue(2))
#endif
/* It has what p names, or is just told that it won. */
#define gives(i, p) ((c[i].known == p && c[i].phase == ACTIVE) || c[i].swapTo == p)
#ifdef LIVE
/* A takeover waits long enough for every peer to answer. */
#define patience(i) !giver(c[i].seen)
/* Owners come only where no Coordinator has the seed. */
#define ownersCome nobodyKnows
#else
#define ownersCome true
#define patience(i) true
#endif

inline send(i, kind, from) {
  c[i].swap = SENT; c[i].swapAge = 0; c[i].swapKind = kind; c[i].swapFrom = from;
#ifdef PROMPT
  perform(kind, from, c[i].swap, c[i].swapTo)
#endif
}

inline endSwap(i) {
  c[i].swap = NONE; c[i].swapAge = 0; c[i].swapKind = NONE; c[i].swapFrom = 0; c[i].swapTo = 0
}

inline abandon(i) {
  if :: c[i].swap == SENT -> c[i].late = c[i].swapKind; c[i].lateFrom = c[i].swapFrom; dropLateOf(i) :: else fi;
  endSwap(i)
}

#if COORDINATORS == 2
#define has(p) (held(0, p) || held(1, p))
#else
#define has(p) (held(0, p) || held(1, p) || held(2, p))
#endif
#define held(i, p) (c[i].known == p || c[i].given == p || c[i].swapTo == p)

/* Each step of a Coordinator is one turn of an event loop. What the store and the network do lies between the steps. */
proctype coordinator(byte i) {
  do
  /* It starts. */
  :: d_step { c[i].phase == DOWN ->
       if :: store == 0 -> c[i].phase = EMPTY :: else -> c[i].phase = RECOVERY fi }

  /* A set: the first, and those after. */
  :: d_step { sets > 0 && made < POINTERS && c[i].swap == NONE && c[i].late == NONE &&
              ((confirmed(i) && c[i].given == 0) || c[i].phase == EMPTY) ->
       sets--; send(i, SET, c[i].known) }

  /* The store says who won. */
  :: d_step { c[i].swap == DONE ->
       c[i].late = NONE;
       if
#ifndef BUG_SET_OVERTAKEN
       :: c[i].phase != FORKED ->
          enter(i, c[i].swapTo, c[i].swapTo, c[i].swapAge);
          if :: c[i].swapKind == SET -> acknowledged = acknowledged | bit(c[i].known) :: else fi;
#ifndef BUG_NO_HOLD
          c[i].hold = true
#endif
       :: else
#else
       :: true -> enter(i, c[i].swapTo, c[i].swapTo, c[i].swapAge); c[i].hold = true
#endif
       fi;
       endSwap(i) }
  :: d_step { c[i].swap == REFUSED ->
       if
       :: c[i].phase == EMPTY -> c[i].phase = RECOVERY
       :: c[i].phase == ACTIVE -> becomeStale(i, 0)
       :: c[i].phase == RECOVERY -> c[i].seen = 0
       :: c[i].phase == STALE -> c[i].reread = true
       :: else
       fi;
       endSwap(i) }

  /* A certificate. */
#ifndef HOSTILE
  :: d_step { mayIssue(i) && c[i].known == store && !issued -> issued = true }
  /* Not of the one mesh CA that the pointer names; or replaced too long ago. */
  :: d_step { mayIssue(i) && c[i].key != c[i].known -> forbid(twoMeshCas, true) }
  :: d_step { mayIssue(i) && c[i].known != store && since[c[i].known] > BOUND -> forbid(issuedTooLate, true) }
#else
  /* By one of two histories, though it was told of both. */
  :: d_step { mayIssue(i) && diverged[i] -> forbid(servedFork, true) }
  /* By a pointer that it knows to be replaced. */
  :: d_step { mayIssue(i) && replaced[i] -> forbid(servedReplaced, true) }
#endif
  od
}

proctype confirmation(byte i) {
  do
  /* The pointer is read. */
  :: d_step { c[i].phase != DOWN && c[i].phase != FORKED && c[i].read == NONE &&
              (c[i].phase != ACTIVE || c[i].age > 0 || store != c[i].known) ->
#ifdef PROMPT
       c[i].read = DONE; c[i].readValue = store
#else
       c[i].read = SENT
#endif
     }

  /* The answer is there. */
  :: d_step { c[i].read == DONE && inTurn(i) ->
#ifdef BUG_BOUND_FROM_ANSWER
       c[i].readAge = 0;
#endif
       c[i].reread = false;
       if
       :: c[i].given != 0 ->
          if
          :: c[i].readValue == c[i].given && (c[i].known == 0 || upTo(newest(i), c[i].given)) -> enter(i, c[i].given, c[i].givenKey, c[i].readAge)
          :: c[i].readValue != c[i].given && upTo(c[i].given, c[i].readValue) &&
             (c[i].known == 0 || upTo(newest(i), c[i].readValue)) ->
             c[i].seen = c[i].readValue; forgetGiven(i)
          :: else -> rolledBack(i); forgetGiven(i)
          fi
       :: c[i].given == 0 && c[i].known != 0 && c[i].phase != FORKED -> meet(i, c[i].readValue, c[i].readAge)
       :: c[i].given == 0 && c[i].known == 0 && c[i].readValue != 0 -> c[i].seen = c[i].readValue; c[i].phase = RECOVERY
       :: else
       fi;
       forgetRequests(i) }
  od
}

proctype moves(byte i) {
  do
  /* Owners recover it: a new mesh CA. */
  :: d_step { c[i].phase == RECOVERY && c[i].seen != 0 && c[i].swap == NONE && c[i].late == NONE && ownersCome ->
#ifdef BUG_RECOVERY_KEEPS_POINTER
       c[i].known = c[i].seen; c[i].key = POINTERS + 1 + i; c[i].age = 0; c[i].phase = ACTIVE; c[i].seen = 0
#else
       send(i, OWNERS, c[i].seen)
#endif
     }

#ifndef BUG_NO_TAKEOVER
  /* Nobody gives it the state that replaced its own. */
  :: d_step { c[i].phase == STALE && c[i].seen != 0 && !c[i].reread && c[i].given == 0 && c[i].swap == NONE && c[i].late == NONE &&
              made < POINTERS && patience(i) ->
       send(i, TAKEOVER, c[i].seen) }
#endif

  od
}

/* How many pointers there were: the sequence number. */
#define sequence(p) ((chain[p] >> 1 & 1) + (chain[p] >> 2 & 1) + (chain[p] >> 3 & 1) + (chain[p] >> 4 & 1))

/* A peer says its pointer, of the same history. */
inline learn(i, p) {
  if
  :: (c[i].phase == ACTIVE || c[i].phase == STALE) && p != c[i].known && upTo(newest(i), p) ->
     becomeStale(i, p);
     forgetRequests(i)
  :: else
  fi
}

/* A peer j of i: what i asks of it. */
proctype peer(byte i; byte j) {
  do
  /* Recover. The answer may get lost, or come late. */
  :: d_step { (c[i].phase == STALE || c[i].phase == RECOVERY) && c[i].given == 0 && inTurn(i) &&
              confirmed(j) && (c[i].known == 0 || upTo(c[i].known, c[j].known)) && c[i].known != c[j].known ->
       c[i].given = c[j].known; c[i].givenKey = c[j].key;
#ifndef BUG_OLD_READ
       forgetRequests(i);
#endif
#ifdef BUG_HOLD_ENDS_ON_ANSWER
       c[j].hold = false
#endif
     }

  /* Latest: each tells the other its pointer. */
  :: d_step { c[i].known != 0 && c[j].known != 0 &&
              (c[i].phase == ACTIVE || c[i].phase == STALE) && inTurn(i) &&
#ifdef HOSTILE
              c[i].known != c[j].known &&
#else
              ((c[i].known == c[j].known && c[j].hold) ||
               (c[i].known != c[j].known && upTo(newest(i), c[j].known) && c[i].seen != c[j].known)) &&
#endif
              c[j].phase != EMPTY ->
       if
       :: c[i].known == c[j].known -> c[j].hold = false
       :: else ->
          if :: !continues(c[i].known, c[j].known) -> diverged[i] = true; diverged[j] = true :: else fi;
#ifndef BUG_NO_FORK_CHECK
          if
          :: continues(c[i].known, c[j].known) ->
             learn(i, c[j].known);
             learn(j, c[i].known)
#ifdef BUG_FORK_BY_SEQUENCE
          /* The later one is believed, whatever its chain. */
          :: !continues(c[i].known, c[j].known) && sequence(c[i].known) < sequence(c[j].known) ->
             becomeStale(i, c[j].known)
          :: !continues(c[i].known, c[j].known) && sequence(c[i].known) > sequence(c[j].known) ->
             becomeStale(j, c[i].known)
#endif
          :: else -> forked(i); if :: c[j].phase != FORKED -> forked(j) :: else fi
          fi
#endif
       fi }
  od
}

proctype network(byte i) {
  do
  /* The store answers. */
  :: d_step { c[i].read == SENT ->
       c[i].read = DONE; c[i].readValue = store }
#ifdef HOSTILE
  :: atomic { c[i].read == SENT ->
       byte p;
       select(p : 1 .. POINTERS);
       if :: p <= made -> c[i].read = DONE; c[i].readValue = p :: else fi; p = 0 }
#endif
#ifndef PROMPT
  :: c[i].swap == SENT ->
     atomic { if :: c[i].swap == SENT -> perform(c[i].swapKind, c[i].swapFrom, c[i].swap, c[i].swapTo) :: else fi }
#endif
#ifndef LIVE
  /* The Coordinator gives up. Its request may arrive all the same. The answer may be lost. */
  :: d_step { c[i].swap == SENT || c[i].swap == DONE -> abandon(i) }
#ifndef PROMPT
  :: atomic { c[i].late != NONE ->
       byte result; byte to;
       perform(c[i].late, c[i].lateFrom, result, to);
       c[i].late = NONE; c[i].lateFrom = 0; result = 0; to = 0 }
  :: d_step { c[i].late != NONE -> c[i].late = NONE; c[i].lateFrom = 0 }
#endif
  :: d_step { c[i].given != 0 -> forgetGiven(i) }
#endif
  od
}

/* A second is over, and no peer could fetch in it. */
proctype patienceOfHold(byte i) {
  do
#ifdef ALONE
  :: d_step { c[i].hold -> c[i].hold = false }
#else
  :: d_step { c[i].hold && othersDown(i) -> c[i].hold = false; if :: c[i].known == store -> alone = true :: else fi }
#endif
  od
}

proctype faults() {
  byte i;
  do
  :: atomic { crashes > 0 ->
       select(i : 0 .. COORDINATORS - 1);
       if
       :: c[i].phase > EMPTY ->
          crashes--;
#if CRASHES == 1 && !defined(ALONE) && !defined(HOSTILE) && !defined(LIVE)
          /* A certificate's mesh CA is still somebody's after one crash. */
          forbid(meshCaLost, c[i].known == store && issued && !alone && !another(i, c[i].key));
#endif
          abandon(i);
          forgetRequests(i); forgetGiven(i);
          c[i].phase = DOWN; c[i].known = 0; c[i].key = 0; c[i].age = 0; c[i].hold = false; c[i].seen = 0; c[i].reread = false;
          diverged[i] = false; replaced[i] = false
       :: else
       fi;
       i = 0 }
  od
}

#ifdef CLOCK
#define older(x) if :: x < LATE -> x++ :: else fi
proctype clock() {
  byte i;
  do
  :: d_step {
       i = 0;
       do
       :: i < COORDINATORS ->
          if :: c[i].phase == ACTIVE -> older(c[i].age) :: else fi;
          /* A read that takes longer than the bound is given up. */
          if
          :: c[i].read != NONE && c[i].readAge == BOUND -> forgetRequests(i)
          :: c[i].read != NONE && c[i].readAge < BOUND -> c[i].readAge++
          :: else
          fi;
          if :: c[i].swap != NONE -> older(c[i].swapAge) :: else fi;
          i++
       :: else -> break
       od;
       i = 1;
       do
       /* What nobody has will not be used. */
       :: i <= made -> if :: i != store && has(i) -> older(since[i]) :: else fi; i++
       :: else -> break
       od;
       i = 0 }
  od
}
#endif

init {
  byte i; byte j;
  atomic {
    chain[0] = 1;
#ifndef FIRST
    /* The first set is done, and no other Coordinator has it. */
    made = 1; store = 1; chain[1] = 3; acknowledged = bit(1);
    c[0].phase = ACTIVE; c[0].known = 1; c[0].key = 1; c[0].hold = true;
#endif
    i = 0;
    do
    :: i < COORDINATORS ->
       run coordinator(i); run confirmation(i); run moves(i); run network(i); run patienceOfHold(i);
       j = 0;
       do
       :: j < COORDINATORS -> if :: i != j -> run peer(i, j) :: else fi; j++
       :: else -> break
       od;
       i++
    :: else -> break
    od;
    run faults();
#ifdef CLOCK
    run clock();
#endif
    i = 0; j = 0
  }
}

#ifdef LIVE
/* Somebody serves again and again. */
ltl serves { []<> anybodyServes }
#endif
