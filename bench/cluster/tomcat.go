package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tomcat is Tomcat as its cluster how-to has it. Its nodes are started one after
// the other: together each asks another for its sessions while it ignores the
// question itself, and all wait for a minute.
func tomcat(id, title string, sendOptions int) Kind {
	return Kind{
		ID: id, Title: title, Size: 3, Sessions: true, Replicated: true, Kept: true, InTurn: true, Warm: 20 * time.Second,
		Missing: func(e Env) string {
			if _, err := exec.LookPath("javac"); err != nil {
				return "javac is not installed (bench/setup.sh installs it)"
			}
			return missingFiles(filepath.Join(e.Tomcat, "lib/catalina-ha.jar"), filepath.Join(e.Tomcat, "lib/catalina-tribes.jar"))
		},
		plan: func(c *Cluster) error { return planTomcat(c, sendOptions) },
	}
}

func planTomcat(c *Cluster, sendOptions int) error {
	classes := filepath.Join(c.dir, "classes")
	source := filepath.Join(c.env.Source, "tomcat/src/bench/BenchServlet.java")
	out, err := exec.Command("javac", "-Xlint:all", "-cp", filepath.Join(c.env.Tomcat, "lib/servlet-api.jar"), "-d", classes, source).
		CombinedOutput()
	if err != nil {
		return fmt.Errorf("compile the servlet: %w\n%s", err, out)
	}
	c.heap = c.javaHeap
	c.node = func(i int) (*Process, error) {
		base := filepath.Join(c.dir, c.Name(i))
		if err := c.tomcatBase(base, classes); err != nil {
			return nil, err
		}
		return start(base, c.Name(i), "java", c.javaArgs(i, base, sendOptions)...)
	}
	return nil
}

// tomcatBase makes a CATALINA_BASE.
func (c *Cluster) tomcatBase(base, classes string) error {
	if err := os.RemoveAll(base); err != nil { // of the node's former life
		return err
	}
	for _, d := range []string{"logs", "temp", "work"} {
		if err := os.MkdirAll(filepath.Join(base, d), 0o700); err != nil {
			return err
		}
	}
	from := filepath.Join(c.env.Source, "tomcat")
	app := filepath.Join(base, "webapps/bench/WEB-INF")
	err := errors.Join(
		os.CopyFS(filepath.Join(base, "conf"), os.DirFS(filepath.Join(from, "conf"))),
		os.CopyFS(app, os.DirFS(filepath.Join(from, "web"))),
		os.CopyFS(filepath.Join(app, "classes"), os.DirFS(classes)),
		os.Rename(filepath.Join(base, "conf/delta.xml"), filepath.Join(base, "conf/server.xml")),
	)
	if err != nil {
		return fmt.Errorf("make a base for Tomcat: %w", err)
	}
	return nil
}

func (c *Cluster) javaArgs(i int, base string, sendOptions int) []string {
	home := c.env.Tomcat
	property := func(name string, value any) string { return fmt.Sprintf("-D%s=%v", name, value) }
	return []string{
		"-server", "-Xms512m", "-Xmx2g",
		property("java.net.preferIPv4Stack", true),
		property("java.security.egd", "file:/dev/urandom"),
		property("catalina.home", home), property("catalina.base", base), property("java.io.tmpdir", base+"/temp"),
		property("java.util.logging.manager", "org.apache.juli.ClassLoaderLogManager"),
		property("java.util.logging.config.file", base+"/conf/logging.properties"),
		property("bench.node", c.Name(i)), property("bench.sendopt", sendOptions), property("bench.addr", "127.0.0.1"),
		property("bench.http", c.base+portHTTP+i), property("bench.recv", c.base+portChannel+i),
		property("bench.mcast", 40000+c.base/portsEach), // each cluster its own
		"-cp", home + "/bin/bootstrap.jar:" + home + "/bin/tomcat-juli.jar", "org.apache.catalina.startup.Bootstrap", "start",
	}
}

// javaHeap collects garbage and asks how much is in use.
func (c *Cluster) javaHeap(ctx context.Context, i int) (int64, error) {
	pid := fmt.Sprint(c.procs[i].PID())
	for range 2 {
		if out, err := exec.CommandContext(ctx, "jcmd", pid, "GC.run").CombinedOutput(); err != nil {
			return 0, fmt.Errorf("jcmd GC.run: %w: %s", err, out)
		}
	}
	out, err := exec.CommandContext(ctx, "jcmd", pid, "GC.heap_info").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("jcmd GC.heap_info: %w: %s", err, out)
	}
	_, rest, ok := strings.Cut(string(out), "used ")
	var kib int64
	if _, err := fmt.Sscanf(rest, "%dK", &kib); !ok || err != nil {
		return 0, fmt.Errorf("jcmd GC.heap_info says %q", out)
	}
	return kib << 10, nil
}
