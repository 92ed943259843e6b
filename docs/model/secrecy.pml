/*
 * Who gets the seed from a Coordinator, and whose seed a Coordinator takes. The host has the network, the store, and every VM
 * but the honest Coordinators. README.md says what this stands for.
 *
 * A session of TLS has two ends. Evidence is made for one session, by a VM of one policy; REPORTDATA binds it.
 */
#define SESSIONS 3

/* Policies: the receiver's own; that of an upgrade's predecessor, which the receiver's environment names; and those of VMs that
   are in the host's hands: a workload of this deployment, a Coordinator of another one, a Coordinator of an older manifest, and
   anything that the host makes. */
#define NOBODY 0
#define OWN 1
#define PREDECESSOR 2
#define WORKLOAD 3
#define OTHER 4
#define OLDER 5
#define MADE 6

/* Manifests that a store can show: the one in force, an older one of this deployment, one that the host made up, with the honest
   owners' keys and with a policy of the host's as a Coordinator's. */
#define IN_FORCE 1
#define OLD 2
#define MADE_UP 3

/* Whose seed: the deployment's, or one that the host knows. */
#define TRUE_SEED 1
#define HOST_SEED 2

#define isListed(manifest, policy) \
  ((manifest == IN_FORCE && (policy == OWN || policy == PREDECESSOR || policy == WORKLOAD)) || \
   (manifest == OLD && (policy == OWN || policy == OLDER || policy == WORKLOAD)) || \
   (manifest == MADE_UP && (policy == OWN || policy == MADE || policy == WORKLOAD)))
#define isCoordinator(manifest, policy) (isListed(manifest, policy) && policy != WORKLOAD)

typedef Evidence {
  byte policy;
  bool debug;
  byte session;
  bool byServer;              /* which end it was made for */
};

typedef Session {
  /* Who has the keys of each end: an honest Coordinator, or the host. */
  bool hostIsClient;
  bool hostIsServer;
  Evidence client;
  Evidence server;
  byte seed;                  /* what the server handed over */
};
Session s[SESSIONS];          /* 0: the honest receiver dials the host. 1: the host dials the honest giver. 2: honest both */

byte stored = IN_FORCE;       /* the manifest that the store shows */
bool hostKnowsSeed;
bool seedLeaked;
bool hostSeedTaken;
byte taken;                   /* the seed that the receiver runs with */

/* The honest giver: active, by the manifest in force. */
inline give(n) {
  if
  :: true &&
#ifndef BUG_UNBOUND_EVIDENCE
     s[n].client.session == n &&
#endif
#ifndef BUG_REFLECTION
     !s[n].client.byServer &&
#endif
#ifndef BUG_DEBUG_GUEST
     !s[n].client.debug &&
#endif
#if defined(BUG_GIVE_BY_STORED_MANIFEST)
     isCoordinator(stored, s[n].client.policy)
#elif defined(BUG_GIVE_TO_WORKLOAD)
     isListed(IN_FORCE, s[n].client.policy)
#else
     isCoordinator(IN_FORCE, s[n].client.policy)
#endif
     -> s[n].seed = TRUE_SEED;
        if :: s[n].hostIsClient -> hostKnowsSeed = true; seedLeaked = true; assert(!seedLeaked) :: else fi
  :: else
  fi
}

/* The honest receiver, in recovery: it knows its own evidence and its environment. The store and all that is in it are the host's.
   Whoever has a seed signs pointers with it, so what a peer hands over is always consistent in itself. */
inline take(n) {
  if
  :: taken == 0 && s[n].seed != 0 &&
#ifndef BUG_UNBOUND_EVIDENCE
     s[n].server.session == n &&
#endif
#ifndef BUG_REFLECTION
     s[n].server.byServer &&
#endif
#ifndef BUG_DEBUG_GUEST
     !s[n].server.debug &&
#endif
#ifdef BUG_ACCEPT_BY_STORED_MANIFEST
     isCoordinator(stored, s[n].server.policy)
#else
     (s[n].server.policy == OWN || s[n].server.policy == PREDECESSOR)
#endif
     -> taken = s[n].seed;
        if :: taken == HOST_SEED -> hostSeedTaken = true; assert(!hostSeedTaken) :: else fi
  :: else
  fi
}

/* The honest Coordinators make evidence for the sessions of which they are an end. */
active proctype receiver() {
  do
  :: d_step { s[0].client.policy == NOBODY -> s[0].client.policy = OWN; s[0].client.session = 0 }
  :: d_step { s[2].client.policy == NOBODY -> s[2].client.policy = OWN; s[2].client.session = 2 }
  :: d_step { s[0].seed != 0 && taken == 0 -> take(0); s[0].seed = 0 }
  :: d_step { s[2].seed != 0 && taken == 0 -> take(2); s[2].seed = 0 }
  :: d_step { taken != 0 -> taken = 0 }  /* it restarts */
  od
}

active proctype giver() {
  do
  :: d_step { s[1].server.policy == NOBODY -> s[1].server.policy = OWN; s[1].server.session = 1; s[1].server.byServer = true }
  :: d_step { s[2].server.policy == NOBODY -> s[2].server.policy = OWN; s[2].server.session = 2; s[2].server.byServer = true }
  :: d_step { s[1].client.policy != NOBODY && s[1].seed == 0 -> give(1); s[1].client.policy = NOBODY }
  :: d_step { s[2].client.policy != NOBODY && s[2].seed == 0 -> give(2) }
  od
}

/* Evidence that the host can show in a session of its own: of a VM that it has in its hands, debug guests with an honest
   policy among them, made for this session; or what an honest Coordinator made for another one, or for the other end of this one. */
inline present(evidence, n, end) {
  byte policy; byte from;
  if
  :: select(policy : WORKLOAD .. MADE);
     evidence.policy = policy; evidence.debug = false; evidence.session = n; evidence.byServer = end
  :: evidence.policy = OWN; evidence.debug = true; evidence.session = n; evidence.byServer = end
  :: evidence.policy = PREDECESSOR; evidence.debug = true; evidence.session = n; evidence.byServer = end
  :: select(from : 0 .. SESSIONS - 1);
     if
     :: from != 1 && s[from].client.policy == OWN ->
        evidence.policy = OWN; evidence.debug = false; evidence.session = from; evidence.byServer = false
     :: from != 0 && s[from].server.policy == OWN ->
        evidence.policy = OWN; evidence.debug = false; evidence.session = from; evidence.byServer = true
     :: else
     fi
  fi;
  policy = 0; from = 0
}

active proctype host() {
  s[0].hostIsServer = true;
  s[1].hostIsClient = true;
  do
  /* What the store shows. */
  :: atomic { select(stored : IN_FORCE .. MADE_UP) }
  /* It plays a Coordinator to the giver. */
  :: atomic { s[1].client.policy == NOBODY -> present(s[1].client, 1, false) }
  /* It plays the peer of the receiver, with a seed of its own. */
  :: atomic { s[0].seed == 0 -> present(s[0].server, 0, true); s[0].seed = HOST_SEED }
  od
}
