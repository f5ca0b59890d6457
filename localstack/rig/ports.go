package rig

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
)

// FreeAddr returns a loopback address whose port is free and the caller's until this process
// ends: a server may be started on it, killed and started again. No other caller of FreeAddr
// gets it, in whatever process, and the kernel does not give it to an outgoing connection or
// to a listener that leaves the choice to it.
func FreeAddr() (string, error) {
	var last error
	span := kernelPorts()
	for range 1000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(span.drawOutside()))
		if last = reserve(addr); last == nil {
			return addr, nil
		}
	}
	return "", fmt.Errorf("find a free port: %w", last)
}

// reservations hold the ports that FreeAddr has given out. They are sockets of UDP, beside which a
// server can listen with TCP, so that the kernel tells all processes of them and forgets
// them with this one.
var reservations struct {
	sync.Mutex
	held []net.PacketConn
}

// reserve fails if the port is reserved, or if somebody listens on it.
func reserve(addr string) error {
	held, err := net.ListenPacket("udp", addr)
	if err != nil {
		return fmt.Errorf("reserve %s: %w", addr, err)
	}
	l, err := net.Listen("tcp", addr)
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("reserve %s: %w", addr, err), held.Close())
	}
	reservations.Lock()
	defer reservations.Unlock()
	reservations.held = append(reservations.held, held)
	return nil
}

// The ports from lowestPort on are drawn from; below are those of well-known services.
const lowestPort, highestPort = 10_000, 65_535

// portSpan is a range of ports, both ends included.
type portSpan struct{ first, last int }

// kernelPorts are those from which the kernel chooses when it is left to it.
func kernelPorts() portSpan {
	const linux = "/proc/sys/net/ipv4/ip_local_port_range"
	span := portSpan{32_768, highestPort} // holds what other systems choose from
	text, err := os.ReadFile(linux)
	if err != nil {
		return span
	}
	if _, err := fmt.Sscan(string(text), &span.first, &span.last); err != nil {
		return portSpan{32_768, highestPort}
	}
	return span
}

// drawOutside draws a port that the kernel does not choose, or any if it may choose nearly all.
func (s portSpan) drawOutside() int {
	const few = 1000
	below, above := max(s.first-lowestPort, 0), max(highestPort-max(s.last, lowestPort-1), 0)
	if below+above < few {
		return lowestPort + rand.IntN(highestPort-lowestPort+1)
	}
	if i := rand.IntN(below + above); i >= below {
		return s.last + 1 + i - below
	} else {
		return lowestPort + i
	}
}
