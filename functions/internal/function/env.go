package function

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Env reads settings and remembers all that cannot be read, for Err. What is not set is the zero value. It belongs to
// one goroutine.
type Env struct {
	getenv func(string) string
	errs   []error
}

// NewEnv returns an Env of what getenv tells, which is "" for what is not set.
func NewEnv(getenv func(string) string) *Env { return &Env{getenv: getenv} }

// Text is a setting as it is.
func (e *Env) Text(name string) string { return e.getenv(name) }

// Duration is a time, such as 3s.
func (e *Env) Duration(name string) time.Duration {
	return setting(e, name, "a time such as 90s", func(text string) (time.Duration, bool) {
		d, err := time.ParseDuration(text)
		return d, err == nil && d >= 0
	})
}

// Positive is a number above zero of so many bits.
func (e *Env) Positive(name string, bits int) int64 {
	return setting(e, name, "a whole number above zero of "+strconv.Itoa(bits)+" bits", func(text string) (int64, bool) {
		n, err := strconv.ParseInt(text, 10, bits)
		return n, err == nil && n > 0
	})
}

// Bool is true or false.
func (e *Env) Bool(name string) bool {
	return setting(e, name, "true or false", func(text string) (bool, bool) {
		b, err := strconv.ParseBool(text)
		return b, err == nil
	})
}

// setting is what parse makes of a setting that is set.
func setting[T any](e *Env, name, want string, parse func(string) (T, bool)) (none T) {
	text := e.getenv(name)
	if text == "" {
		return none
	}
	if v, ok := parse(text); ok {
		return v
	}
	e.errs = append(e.errs, fmt.Errorf("read %s %q: want %s", name, text, want))
	return none
}

// Err tells what of the settings asked for so far could not be read, or returns nil.
func (e *Env) Err() error { return errors.Join(e.errs...) }
