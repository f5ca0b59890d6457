package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Ministack is a stand-in for AWS's API of Lambda: it takes zips for provided.al2023 by the real requests, runs their
// bootstraps as processes of this machine, and invokes them.
//
// Where it differs from AWS: it accepts every signature and role, a function has all of the machine's memory, and a
// function URL with the auth type AWS_IAM refuses what has no signature but neither checks one nor tells the function who
// the caller is; so FunctionURL is used for that.
type Ministack struct {
	*Process
	URL string
}

// StartMinistack starts ministack, in the directory that `tools/install python` prints, on a free loopback port, and waits
// until it answers. dir is a directory for what it writes.
func StartMinistack(ctx context.Context, programs, dir string) (*Ministack, error) {
	if programs == "" {
		return nil, errors.New("find ministack: no directory given; run through make, or set FOREBAY_PYTHON=$(tools/install python)")
	}
	addr, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "python3", "-m", "ministack")
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "PYTHONPATH=" + programs, "PYTHONDONTWRITEBYTECODE=1",
		"BIND_HOST=127.0.0.1", "GATEWAY_PORT=" + port, "SERVICES=lambda,iam,sts,logs", "IOT_MTLS_ENABLED=0",
	}
	m := &Ministack{URL: "http://" + addr}
	if m.Process, err = StartProcess("ministack", cmd); err != nil {
		return nil, err
	}
	if err := m.Await(ctx, func(ctx context.Context) error {
		_, err := m.call(ctx, http.MethodGet, "/2015-03-31/functions", nil)
		return err
	}); err != nil {
		return nil, errors.Join(err, m.Kill())
	}
	return m, nil
}

// deployer is whose signatures ministack gets; it takes any.
var deployer = Identity{AccessKey: "AKIDDEPLOYER", Secret: "secret"}

// call sends a signed request to the API.
func (m *Ministack) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	var b strings.Builder
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, m.URL+path, strings.NewReader(b.String()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := deployer.Client(nil).Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode >= 300:
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	case resp.Header.Get("X-Amz-Function-Error") != "":
		return nil, fmt.Errorf("%w: %s", ErrFunction, answer)
	}
	return answer, nil
}

// Deploy creates a function of a zip, with NAME=value as its environment (CreateFunction), and waits until it is active.
func (m *Ministack) Deploy(ctx context.Context, name string, zipped []byte, arch string, env ...string) error {
	variables := map[string]string{}
	for _, e := range env {
		key, value, _ := strings.Cut(e, "=")
		variables[key] = value
	}
	if _, err := m.call(ctx, http.MethodPost, "/2015-03-31/functions", map[string]any{
		"FunctionName": name, "Runtime": "provided.al2023", "Handler": "bootstrap", "Role": "arn:aws:iam::000000000000:role/" + name,
		"Code": map[string]any{"ZipFile": zipped}, "Architectures": []string{arch}, "Timeout": 60, "MemorySize": 128,
		"Environment": map[string]any{"Variables": variables},
	}); err != nil {
		return err
	}
	return m.Await(ctx, func(ctx context.Context) error {
		answer, err := m.call(ctx, http.MethodGet, "/2015-03-31/functions/"+name, nil)
		var f struct{ Configuration struct{ State string } }
		if err == nil {
			err = json.Unmarshal(answer, &f)
		}
		if err == nil && f.Configuration.State != "Active" {
			err = fmt.Errorf("function %s is %s", name, f.Configuration.State)
		}
		return err
	})
}

// Invoke invokes a function and decodes its answer (Invoke). It fails with ErrFunction.
func (m *Ministack) Invoke(ctx context.Context, name string, request, response any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	answer, err := m.call(ctx, http.MethodPost, "/2015-03-31/functions/"+name+"/invocations", request)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, response)
}

// URLOf creates a URL of the auth type AWS_IAM for a function (CreateFunctionUrlConfig), and returns it.
func (m *Ministack) URLOf(ctx context.Context, name string) (string, error) {
	answer, err := m.call(ctx, http.MethodPost, "/2021-10-31/functions/"+name+"/url", map[string]string{"AuthType": "AWS_IAM"})
	var u struct{ FunctionUrl string } //nolint:staticcheck // AWS's own name
	if err == nil {
		err = json.Unmarshal(answer, &u)
	}
	return u.FunctionUrl, err
}
