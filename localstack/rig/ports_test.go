package rig

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// Nobody else gets an address that FreeAddr has given out, though no server listens there.
func TestFreeAddrStaysFree(t *testing.T) {
	addr, err := FreeAddr()
	require.NoError(t, err)
	require.Error(t, reserve(addr), "another process would have it too")
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	span := kernelPorts()
	require.False(t, span.first <= n && n <= span.last, "port %d is one that an outgoing connection may get: %v", n, span)
	for range 2 { // a server that is started again
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
}

func TestReserveRefusesWhereSomebodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	require.Error(t, reserve(l.Addr().String()))
	require.NoError(t, l.Close())
	require.NoError(t, reserve(l.Addr().String()), "the refusal has left nothing behind")
}

func TestPortsAreDrawnOutsideOfTheKernels(t *testing.T) {
	for _, span := range []portSpan{{32_768, 60_999}, {32_768, highestPort}, {1024, 50_000}, {9000, 20_000}} {
		for range 1000 {
			port := span.drawOutside()
			require.False(t, span.first <= port && port <= span.last, "%d of %v", port, span)
			require.True(t, lowestPort <= port && port <= highestPort, "%d of %v", port, span)
		}
	}
	all := portSpan{1024, highestPort} // there are no others
	port := all.drawOutside()
	require.True(t, lowestPort <= port && port <= highestPort, "%d", port)
}
