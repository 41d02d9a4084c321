# The storm of sim/scenarios/storm.sim, drawn from the CSV of its sweep: `make figures`.
#
#     gnuplot -c storm.gnuplot storm.csv > storm.svg
set terminal svg size 960,360 font 'sans-serif,13' background '#ffffff' name 'storm' noenhanced
set datafile separator ','
set datafile columnheaders
set border 3
set tics nomirror
set grid ytics lt 1 lc rgb '#d8dee6'
set xlabel 'sensors that report in the same second of each minute'
set xrange [10:130]
set xtics 20,20,120

array way[3] = ['10s..10s', '6s..60s', 'measured']
array said[3] = ['10 s, fixed', '6 s, doubled up to 60 s', 'measured, from the end of sending']
array colour[3] = ['#ef4444', '#f59e0b', '#3b82f6']
array mark[3] = [7, 5, 9]
of(i, name) = (strcol('retry') eq way[i] ? column(name) : NaN)
set datafile missing NaN

set multiplot layout 1,2
set title 'acknowledged'
set yrange [0:105]
set ytics 25 format '%.0f %%'
set key bottom left Left reverse title 'repeats after' left
plot for [i=1:3] ARG1 using (column('sensors')):(of(i, 'accepted_percent')) with linespoints \
    lw 2.5 pt mark[i] ps 0.7 lc rgb colour[i] title said[i]
set title 'copies sent of each message'
set yrange [0:5.5]
set ytics 1 format '%.0f'
unset key
plot for [i=1:3] ARG1 using (column('sensors')):(of(i, 'copies')) with linespoints \
    lw 2.5 pt mark[i] ps 0.7 lc rgb colour[i]
unset multiplot
