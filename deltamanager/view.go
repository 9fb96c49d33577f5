package deltamanager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// View is one request's view of a session: it reads what is committed, and
// records what the request writes until Commit. Safe for concurrent use. Discard it, or
// commit it, before the request ends.
type View struct {
	m *Manager

	mu         sync.Mutex
	ref        Ref
	info       Info // as it was when the request began
	create     bool // not made yet
	created    bool // made by this view
	unowned    bool // no user has its cookie, so none can come back to it
	writes     []Write
	inactive   *time.Duration // to be set; 0 or less: no limit
	move       *Identity      // to be given
	invalidate bool
	ended      bool // invalidated and committed
	locked     Key  // whose lock it holds; zero: none
	acks       Acks
	stale      bool    // what its user has seen could not be had
	tokens     []Token // that its user came with
}

// Stale tells whether the session may be older here than what its user has seen.
func (v *View) Stale() bool { return v.stale }

// Tokens are what the response must set as cookies, so that the next node shows
// its user no less than this one: call it after Commit. Most often there is
// none, or one.
func (v *View) Tokens() []Token {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.create || v.ended {
		return nil
	}
	return v.ref.Tokens(v.m.now(), v.tokens)
}

// Key is the session's key: the new one as soon as an identity was asked for.
func (v *View) Key() Key {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.move != nil {
		return v.move.Key
	}
	return v.info.Key
}

// IsNew tells whether this view creates, or has created, the session.
func (v *View) IsNew() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.create || v.created
}

// Created is when the session was created, LastAccess when it was used before this request.
func (v *View) Created() time.Time { return v.m.wall(v.info.Created) }

// LastAccess is when the session was used before this request.
func (v *View) LastAccess() time.Time { return v.m.wall(v.info.LastAccess) }

// Principal is the user's name as this request sees it.
func (v *View) Principal() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.move != nil {
		return v.move.Principal
	}
	return v.info.Auth.Principal
}

// MaxInactive is how long the session lives unused; 0: no limit.
func (v *View) MaxInactive() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.inactive != nil {
		return max(0, *v.inactive)
	}
	if !v.create {
		if info, ok := v.ref.Info(); ok {
			return info.MaxInactive
		}
	}
	return v.info.MaxInactive
}

// SetMaxInactive changes it when the view is committed. Zero or less: no limit.
func (v *View) SetMaxInactive(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.inactive = &d
}

// SetPrincipal names the user, and gives them the cookie with this hash, when the view
// is committed: see [Core.Move]. The session then has another key.
func (v *View) SetPrincipal(name string, cookie CookieHash) error { return v.identify(&name, cookie) }

// ChangeCookie is SetPrincipal for the same user.
func (v *View) ChangeCookie(cookie CookieHash) error { return v.identify(nil, cookie) }

// identify asks for an identity; without a name, for one of the same user.
func (v *View) identify(name *string, cookie CookieHash) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	to := Identity{CookieHash: cookie, Principal: v.info.Auth.Principal}
	if v.move != nil {
		to.Principal = v.move.Principal
	}
	if name != nil {
		to.Principal = *name
	}
	if v.create { // no other request has seen it yet
		v.info.Auth.CookieHash, v.info.Auth.Principal = to.CookieHash, to.Principal
		return nil
	}
	if _, err := v.m.Core.cfg.Rand.Read(to.Key[:]); err != nil {
		return fmt.Errorf("draw a session key: %w", err)
	}
	v.move = &to
	return nil
}

// CookieHash is that of the cookie by which the session is found, by what this view has
// committed; false: it is not, or no more.
func (v *View) CookieHash() (CookieHash, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.create || v.ended {
		return CookieHash{}, false
	}
	info, ok := v.ref.Info()
	return info.Auth.CookieHash, ok
}

// Unowned says of a session that this view creates that no cookie of it is given out,
// so that it lives as long as one whose user comes back.
func (v *View) Unowned() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.unowned = true
}

// Creates tells whether a commit would make the session.
func (v *View) Creates() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.create && !v.invalidate
}

// SetAcks overrides what Commit waits for.
func (v *View) SetAcks(a Acks) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.acks = a
}

// Get returns an attribute's value, nil if there is none. It must not be changed.
// Another request may have ended the session (ErrGone), or have given its user
// another id (ErrMoved): then this one may see no more of it.
func (v *View) Get(name string) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.invalidate {
		return nil, nil
	}
	for i := range v.writes {
		if v.writes[i].Name == name {
			return v.writes[i].Value, nil
		}
	}
	if v.create {
		return nil, nil
	}
	return v.ref.Get(name)
}

// Set records a write; a nil value removes the attribute. The value must not be
// changed afterwards. It fails with ErrTooLarge when the session would exceed its limit
// and with ErrGone when it has ended; then nothing is recorded.
func (v *View) Set(name string, value []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("attribute name of %d bytes: want 1 to %d", len(name), MaxName)
	}
	if strings.HasPrefix(name, table.Reserved) {
		return fmt.Errorf("attribute name %q: names must not begin with a zero byte", name)
	}
	if v.invalidate {
		return ErrGone
	}
	writes := v.writes
	if i := slices.IndexFunc(writes, func(w Write) bool { return w.Name == name }); i >= 0 {
		writes = slices.Delete(slices.Clone(writes), i, i+1)
	}
	writes = append(writes, Write{Name: name, Value: value})
	if value != nil {
		if err := v.fits(writes); err != nil {
			return err
		}
	}
	v.writes = writes
	return nil
}

func (v *View) fits(writes []Write) error {
	if v.create {
		return fit(v.m.Core.table.FitsNew(writes))
	}
	return v.ref.Fits(writes)
}

// Names lists the attributes, sorted.
func (v *View) Names() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.invalidate {
		return nil
	}
	var names []string
	if !v.create {
		names = v.ref.Names()
	}
	for _, w := range v.writes {
		i, found := slices.BinarySearch(names, w.Name)
		switch {
		case found && w.Value == nil:
			names = slices.Delete(names, i, i+1)
		case !found && w.Value != nil:
			names = append(names, w.Name)
			sort.Strings(names)
		}
	}
	return names
}

// Lock waits, until ctx ends, for other views of this session at this node that have
// locked it. The session then is this view's alone to lock until the view is committed or
// discarded.
func (v *View) Lock(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.locked == (Key{}) && !v.create {
		if err := v.m.locks.acquire(ctx, v.info.Key); err != nil {
			return fmt.Errorf("wait for the session's other request: %w", err)
		}
		v.locked = v.info.Key
	}
	return nil
}

// Invalidate ends the session when the view is committed.
func (v *View) Invalidate() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.invalidate, v.writes, v.inactive, v.move = true, nil, nil, nil
}

// Invalidated tells whether this request has ended the session.
func (v *View) Invalidated() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.invalidate
}

// Pending tells whether there is something to commit.
func (v *View) Pending() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.create || len(v.writes) > 0 || v.inactive != nil || v.move != nil || v.invalidate && !v.ended
}

// Result is what became of a commit.
type Result struct {
	Stamp   Stamp // zero: nothing was written
	Applied int   // members known to have applied it
	Need    int   // members asked for
	Final   bool  // it was a login, another change of the id, or a logout
}

// Commit commits what was recorded, under one stamp, and waits as the ack level
// says. Errors are ErrGone, ErrMoved, ErrNotReady, ErrTooLarge, ErrFull: nothing was
// written; ErrUnacked: it was. A view may be committed again after further writes, and
// be used by others while Commit waits.
func (v *View) Commit(ctx context.Context) (Result, error) {
	receipt, wait, err := v.commit()
	if err != nil {
		return Result{}, err
	}
	result, err := v.m.await(ctx, receipt, wait)
	result.Final = receipt.final
	return result, err
}

// commit makes the writes. What Lock has locked is free after it: the next one may
// read what is committed now.
func (v *View) commit() (receipt Receipt, wait Wait, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer v.unlock()
	m := v.m
	if v.ended || v.create && v.invalidate {
		return receipt, wait, nil
	}
	tx := Tx{Writes: v.writes, MaxInactive: v.inactive, Invalidate: v.invalidate, Returned: v.unowned}
	wait = m.Core.Wait(v.acks, v.create, v.invalidate || v.move != nil)
	ref, final := v.ref, v.invalidate || v.move != nil
	switch {
	case v.create:
		tx.Principal = v.info.Auth.Principal
		ref, receipt, err = m.Core.CreateKey(m.now(), v.info.Key, v.info.Auth.CookieHash, tx)
	case v.move != nil:
		ref, receipt, err = m.Core.Move(m.now(), v.ref, *v.move, tx)
	default:
		receipt, err = m.Core.Commit(m.now(), v.ref, tx)
	}
	if err != nil {
		return receipt, wait, err
	}
	if v.move != nil {
		v.info.Key, v.info.Auth = v.move.Key, Auth{CookieHash: v.move.CookieHash, Principal: v.move.Principal}
		v.tokens = nil // what its user has seen of the session before is in this one
	}
	v.ref = ref
	v.created, v.create = v.created || v.create, false
	v.ended = v.invalidate
	v.writes, v.inactive, v.move = nil, nil, nil
	receipt.final = final
	return receipt, wait, nil
}

// await waits until the receipt is confirmed. ErrUnacked is only returned where
// the caller is strict.
func (m *Manager) await(ctx context.Context, r Receipt, wait Wait) (Result, error) {
	result := Result{Stamp: r.Stamp}
	if !r.wrote || wait.Level == Async {
		return result, nil
	}
	w := m.Core.Expect(r, wait.Level)
	defer w.Close()
	t := time.NewTimer(wait.Limit)
	defer t.Stop()
	select {
	case <-w.Done():
	case <-t.C:
	case <-ctx.Done():
	}
	result.Applied, result.Need = w.Applied()
	if result.Applied >= result.Need {
		return result, nil
	}
	m.Core.stats.sessions.unacked.Add(1)
	if wait.Strict {
		return result, ErrUnacked
	}
	return result, nil
}

// Discard drops what was recorded and not committed.
func (v *View) Discard() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.writes, v.inactive, v.move = nil, nil, nil
	v.unlock()
}

func (v *View) unlock() {
	if v.locked != (Key{}) {
		v.m.locks.release(v.locked)
		v.locked = Key{}
	}
}

// Gone tells whether err means that the session has ended.
func Gone(err error) bool { return errors.Is(err, ErrGone) }
