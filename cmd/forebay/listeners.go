package main

import (
	"net"
	"strconv"
	"strings"

	"github.com/forebaylog/forebay/broker"
)

// defaultBroker is where forebay dev listens and where the other commands look for it.
const defaultBroker = "127.0.0.1:9092"

// defaultAdmin is the admin address of a node, and where forebay health looks for it.
const defaultAdmin = "127.0.0.1:8080"

// parseListeners reads --listeners and --advertised-listeners, or --kafka-addr.
func parseListeners(f nodeFlags) ([]broker.Listener, error) {
	if len(f.listeners) == 0 {
		f.listeners = []string{string(broker.Plaintext) + "://" + f.kafkaAddr}
	}
	var listeners []broker.Listener
	byName := make(map[string]int)
	for _, text := range f.listeners {
		name, addr, err := splitListener("listeners", text)
		if err != nil {
			return nil, err
		}
		if _, twice := byName[name]; twice {
			return nil, usageErrorf("listeners: the name %s is used twice", name)
		}
		byName[name] = len(listeners)
		listeners = append(listeners, broker.Listener{Name: name, Protocol: broker.Plaintext, BindAddr: addr})
	}
	for _, text := range f.advertisedListeners {
		name, addr, err := splitListener("advertised listeners", text)
		if err != nil {
			return nil, err
		}
		i, ok := byName[name]
		if !ok {
			return nil, usageErrorf("advertised listeners: %s is not among the listeners", name)
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, usageErrorf("advertised listeners: %s: %v", text, err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || host == "" {
			return nil, usageErrorf("advertised listeners: %s: want NAME://host:port", text)
		}
		listeners[i].AdvertisedHost, listeners[i].AdvertisedPort = host, int32(n)
	}
	return listeners, nil
}

// splitListener cuts NAME://host:port.
func splitListener(setting, text string) (name, addr string, err error) {
	name, addr, ok := strings.Cut(text, "://")
	if !ok || name == "" {
		return "", "", usageErrorf("%s: %q: want NAME://host:port", setting, text)
	}
	if strings.HasPrefix(addr, ":") { // Kafka's form for every address
		addr = "0.0.0.0" + addr
	}
	return strings.ToUpper(name), addr, nil
}
